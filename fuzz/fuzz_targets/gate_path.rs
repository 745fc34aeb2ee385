//! A path that is let in is in its one form: again it is itself, and it leaves no folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_fuzz::path::normalise;

fuzz_target!(|path: &str| {
    for encoded_slashes in [false, true] {
        let Ok(form) = normalise(path, encoded_slashes) else { continue };
        assert!(form.starts_with('/') && form.is_ascii());
        assert_eq!(normalise(&form, encoded_slashes).as_deref(), Ok(&*form));
        assert!(form.split('/').all(|segment| segment != "." && segment != ".."));
        let escaped = form.to_ascii_lowercase();
        for never in ["%00", "%0a", "%0d", "%2e"] {
            assert!(!escaped.contains(never), "{form}");
        }
        if !encoded_slashes {
            assert!(!escaped.contains("%2f") && !escaped.contains("%5c"), "{form}");
        }
    }
});
