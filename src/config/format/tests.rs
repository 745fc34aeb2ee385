use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &str) {
    let formatted = format(text);
    assert_eq!(formatted, expected);
    assert_eq!(format(&formatted), expected, "a second time");
}

#[test]
fn layout() {
    check("", "");
    check("\n\n", "");
    check("a=1", "a = 1\n");
    check("# one  \n\n\n\n# two\na.b . c  =  'x'   # c\n", "# one\n\n# two\na.b.c = 'x'   # c\n");
    check("[ a ]#x\n\nb=1\n[c.\"d\"]\n[[ e ]]\n", "[a] #x\nb = 1\n\n[c.\"d\"]\n\n[[e]]\n");
    check("[a]\nb = 1\n[a.c]\nd = 1\n\n[a.e]\n[ab]\n", "[a]\nb = 1\n[a.c]\nd = 1\n\n[a.e]\n\n[ab]\n");
    check("[a]\nb = 1\n# d = 2\n[c]\n", "[a]\nb = 1\n# d = 2\n[c]\n");
    check(
        "a = [ 1,2 , 3,]\nb = [ ]\nc={ }\nd={x=1,y.z=[ { } ]}\n",
        "a = [1, 2, 3]\nb = []\nc = {}\nd = { x = 1, y.z = [{}] }\n",
    );
    check(
        "a = [ # first\n1, 2,# two\n\n\n# own\n[3,\n4]\n\n]\r\nb = 1\r\n",
        "a = [\n    # first\n    1,\n    2, # two\n\n    # own\n    [\n        3,\n        4,\n    ],\n]\nb = 1\n",
    );
    check("a = \"\"\"x\n   y \n\"\"\"\n", "a = \"\"\"x\n   y \n\"\"\"\n");
    // Dotted keys stay where they are.
    check("a.b=1\nc=2\na.d=3\n", "a.b = 1\nc = 2\na.d = 3\n");
    let long = format!("a = [\"{}\", 'b']\n", "x".repeat(120));
    check(&long, &format!("a = [\n    \"{}\",\n    'b',\n]\n", "x".repeat(120)));
}

fn comments(text: &str) -> Vec<String> {
    let mut events: Vec<Event> = Vec::new();
    parse_document(&TomlSource::new(text).lex().into_vec(), &mut events, &mut None::<ParseError>);
    let comments = events.iter().filter(|event| event.kind() == EventKind::Comment);
    comments.map(|event| text[event.span().start()..event.span().end()].trim_end().to_owned()).collect()
}

/// Values with any spaces, line breaks and comments in them.
fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("1".to_owned()),
        Just("'a # b'".to_owned()),
        Just("\"\"\"x\n  y\"\"\"".to_owned()),
        Just("2020-01-01 10:00:00".to_owned()),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        let gap = || {
            prop_oneof![Just(""), Just("  "), Just("\n"), Just("\n\n\n "), Just(" # c\n"), Just("#d \n\n")]
        };
        prop_oneof![
            (prop::collection::vec((gap(), inner.clone(), gap()), 0..4), gap(), any::<bool>()).prop_map(
                |(items, end, comma)| {
                    let comma = if comma && !items.is_empty() { "," } else { "" };
                    let items: Vec<_> = items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
                    format!("[{}{comma}{end}]", items.join(","))
                }
            ),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{a={a} ,  b . c={b}}}")),
        ]
    })
}

proptest! {
    /// The values and the comments stay, and a second time changes nothing.
    #[test]
    fn any_document(
        parts in prop::collection::vec((value(), "[ \t]{0,2}", 0..4usize, any::<bool>(), any::<bool>()), 0..6),
    ) {
        let mut text = String::new();
        for (index, (value, space, blank, header, comment)) in parts.iter().enumerate() {
            text += &"\n".repeat(*blank);
            if *comment {
                text += &format!("{space}# before {index}\n");
            }
            if *header {
                text += &format!("{space}[{space}t{index} . u ]{space}# header\n");
            }
            text += &format!("{space}k{index}{space}={space}{value}{space}# after {index}\n");
        }
        let before: toml::Table = text.parse().unwrap();
        let formatted = format(&text);
        prop_assert_eq!(formatted.parse::<toml::Table>().unwrap(), before);
        prop_assert_eq!(comments(&formatted), comments(&text));
        prop_assert_eq!(format(&formatted), formatted);
    }
}
