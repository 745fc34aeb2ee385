//! The layout of version 1 on 64-bit machines. Fields may be added at the end, but none may move.

use std::mem::offset_of;

use paster_abi::*;

#[test]
#[cfg(target_pointer_width = "64")]
fn no_field_of_version_1_moves() {
    assert_eq!(ABI_VERSION, 1, "a new version has a layout of its own");
    let last = [
        ("Plugin", offset_of!(Plugin, run_side), 136),
        ("Plugin", offset_of!(Plugin, call_middleware), 144),
        ("NextTable", offset_of!(NextTable, drop), 24),
        ("Host", offset_of!(Host, side_process), 72),
        ("Host", offset_of!(Host, announce), 80),
        ("Request", offset_of!(Request, protocol), 216),
        ("Request", offset_of!(Request, certificate), 280),
        ("ClientCertificate", offset_of!(ClientCertificate, name_count), 80),
        ("Head", offset_of!(Head, error), 96),
        ("Head", offset_of!(Head, body), 128),
        ("Head", offset_of!(Head, session), 144),
        ("Request", offset_of!(Request, session), 288),
        ("ExchangeTable", offset_of!(ExchangeTable, drop), 32),
        ("BodyTable", offset_of!(BodyTable, drop), 16),
        ("IoTable", offset_of!(IoTable, drop), 40),
        ("TaskTable", offset_of!(TaskTable, drop), 16),
        ("WakerTable", offset_of!(WakerTable, drop), 32),
        ("LogRecord", offset_of!(LogRecord, field_count), 56),
    ];
    for (table, found, expected) in last {
        assert_eq!(found, expected, "the last field of {table}");
    }
    assert_eq!(Plugin::SMALLEST_BYTES, 144, "the first table of version 1");
    // Types without a size field never change.
    let whole = [
        ("Slice", size_of::<Slice>(), 16),
        ("Buffer", size_of::<Buffer>(), 32),
        ("Header", size_of::<Header>(), 40),
        ("Frame", size_of::<Frame>(), 56),
        ("Address", size_of::<Address>(), 20),
        ("Waker", size_of::<Waker>(), 24),
        ("LogField", size_of::<LogField>(), 32),
    ];
    for (table, found, expected) in whole {
        assert_eq!(found, expected, "the size of {table}");
    }
}
