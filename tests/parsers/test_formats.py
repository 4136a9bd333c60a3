"""Event format files: what is understood, what is left out, which kind an event is."""

from __future__ import annotations

import pytest

from fputrace.events import KINDS, EventFormat, FormatField, Kind, Trace
from fputrace.parsers.formats import (
    Common,
    choose_common,
    common_of,
    decoder_of,
    parse_fields,
    parse_format,
)
from fputrace.parsers.probes import function_in_name, recognise
from fputrace.parsers.records import RecordDecoder
from fputrace.parsers.symbols import Symbols, base_name, find_symbols

COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)


def form(system: str, name: str, *fields: str, number: int = 300) -> EventFormat:
    lines = "".join(f"\t{field}\n" for field in fields)
    text = f'name: {name}\nID: {number}\nformat:\n{COMMON}{lines}\nprint fmt: "x", REC->x\n'
    parsed = parse_format(text.encode(), system)
    assert parsed is not None
    return parsed


def own(parsed: EventFormat) -> list[FormatField]:
    return [field for field in parsed.fields if not field.name.startswith("common_")]


def test_a_usual_format() -> None:
    parsed = form(
        "x86_fpu",
        "x86_fpu_regs_activated",
        "field:struct fpu * fpu;\toffset:8;\tsize:8;\tsigned:0;",
        "field:bool load_fpu;\toffset:16;\tsize:1;\tsigned:0;",
        "field:u64 xfeatures;\toffset:24;\tsize:8;\tsigned:0;",
    )
    assert parsed.key == "x86_fpu:x86_fpu_regs_activated"
    assert parsed.id == 300
    assert parsed.print_fmt == '"x", REC->x'
    assert own(parsed)[0] == FormatField("fpu", "struct fpu *", 8, 8, False, False, "")
    assert common_of(parsed) == Common()
    decoder = decoder_of(parsed)
    assert decoder.kind is Kind.REGS_ACTIVATED
    assert [operand and operand.name for operand in decoder.operands] == [
        "fpu",
        "load_fpu",
        "xfeatures",
        None,
    ]
    assert decoder.need == 17
    assert decoder.missing == ()


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (
            "field:char comm[TASK_COMM_LEN];\toffset:8;\tsize:16;\tsigned:0;",
            FormatField("comm", "char[TASK_COMM_LEN]", 8, 16, False, True, ""),
        ),
        (
            "field:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;",
            FormatField("filename", "char[]", 8, 4, False, True, "data_loc"),
        ),
        (
            "field:__rel_loc unsigned long[] x;\toffset:8;\tsize:4;\tsigned:0;",
            FormatField("x", "unsigned long[]", 8, 4, False, True, "rel_loc"),
        ),
        (
            "field:u8 mac[(ETH_ALEN + (2 * 3))];\toffset:8;\tsize:12;\tsigned:0;",
            FormatField("mac", "u8[(ETH_ALEN + (2 * 3))]", 8, 12, False, True, ""),
        ),
        (
            "field:int (*func)(struct x *);\toffset:8;\tsize:8;\tsigned:0;",
            FormatField("func", "int (*func)(struct x *)", 8, 8, False, False, ""),
        ),
        (
            "field:const char __attribute__((user)) * name;\toffset:8;\tsize:8;\tsigned:0;",
            FormatField("name", "const char __attribute__((user)) *", 8, 8, False, False, ""),
        ),
        (
            "field special:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;",
            FormatField("ip", "unsigned long", 8, 8, False, False, ""),
        ),
        (  # kernels before 2.6.30 have no `signed`
            "field:pid_t pid;\toffset:8;\tsize:4;",
            FormatField("pid", "pid_t", 8, 4, True, False, ""),
        ),
    ],
)
def test_unusual_fields(line: str, field: FormatField) -> None:
    assert own(form("x", "y", line)) == [field]


@pytest.mark.parametrize(
    "line",
    [
        "field:;\toffset:8;\tsize:8;\tsigned:0;",
        "field:int x;\toffset:eight;\tsize:8;\tsigned:0;",
        "field:int x;\toffset:4000000000;\tsize:8;\tsigned:0;",
        "field:int x;\toffset:8;\tsize:-1;\tsigned:0;",
        "feld:int x;\toffset:8;\tsize:4;\tsigned:0;",
    ],
)
def test_junk_lines_are_left_out(line: str) -> None:
    good = "field:int good;\toffset:8;\tsize:4;\tsigned:1;"
    assert [field.name for field in own(form("x", "y", line, good))] == ["good"]


def test_texts_that_are_no_format() -> None:
    assert parse_format(b"", "x") is None
    assert parse_format(b"name: x\nformat:\n", "x") is None
    assert parse_format(b"ID: 5\nformat:\n", "x") is None
    parsed = parse_format(b"name: \xff\xfe\nID: 5\nformat:\n\tfield:int \xff;\toffset:8;", "x")
    assert parsed is not None
    assert parsed.fields == ()


def test_header_page_is_read_the_same_way() -> None:
    text = b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    assert parse_fields(text) == [FormatField("timestamp", "u64", 0, 8, False, False, "")]


def test_common_fields_are_where_most_formats_have_them() -> None:
    plain = form("x", "a")
    parsed = parse_format(
        b"name: b\nID: 2\nformat:\n\tfield:unsigned short common_type;\toffset:4;\tsize:2;", "x"
    )
    assert parsed is not None
    assert common_of(parsed) is None
    assert choose_common([parsed, plain, plain]) == Common()
    assert choose_common([]) == Common()


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind.name)
def test_every_kind_is_found_by_its_newest_and_oldest_names(spec) -> None:  # type: ignore[no-untyped-def]
    for which in (0, -1):
        lines = [
            f"field:int {operand.fields[which]};\toffset:{8 + 8 * i};\tsize:8;\tsigned:1;"
            for i, operand in enumerate(spec.operands)
        ]
        for name in spec.names:
            decoder = decoder_of(form(spec.system, name, *lines))
            assert decoder.kind is spec.kind
            assert [operand and operand.offset for operand in decoder.operands] == [
                8 + 8 * i if i < len(lines) else None for i in range(4)
            ]


def test_the_newer_name_of_a_field_wins() -> None:
    decoder = decoder_of(
        form(
            "sched",
            "sched_process_fork",
            "field:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;",
            "field:pid_t parent_pid;\toffset:12;\tsize:4;\tsigned:1;",
            "field:pid_t child_pid;\toffset:16;\tsize:4;\tsigned:1;",
        )
    )
    assert decoder.operands[0] is not None
    assert decoder.operands[0].name == "parent_pid"


def test_a_lacking_operand_makes_the_event_unusable() -> None:
    decoder = decoder_of(
        form("kvm", "kvm_userspace_exit", "field:int errno;\toffset:8;\tsize:4;\tsigned:1;")
    )
    assert decoder.kind is Kind.OTHER
    assert decoder.missing == ("reason",)
    flag = decoder_of(
        form("x86_fpu", "x86_fpu_dropped", "field:u64 fpu;\toffset:8;\tsize:8;\tsigned:0;")
    )
    assert flag.missing == ("load_fpu or initialized or fpregs_active",)


def test_system_call_events_of_the_syscalls_system() -> None:
    number = "field:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;"
    assert decoder_of(form("syscalls", "sys_enter_openat", number)).kind is Kind.SYS_ENTER
    result = "field:long ret;\toffset:16;\tsize:8;\tsigned:1;"
    assert decoder_of(form("syscalls", "sys_exit_openat", number, result)).kind is Kind.SYS_EXIT


def test_the_same_name_in_another_system_is_another_event() -> None:
    field = "field:u32 load;\toffset:8;\tsize:4;\tsigned:0;"
    assert decoder_of(form("mygroup", "kvm_fpu", field)).kind is Kind.OTHER


def test_a_probe_keeps_its_first_four_arguments_in_order() -> None:
    decoder = decoder_of(
        form(
            "fpu",
            "save",
            "field:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;",
            "field:u64 fpu;\toffset:16;\tsize:8;\tsigned:0;",
            "field:__data_loc char[] text;\toffset:24;\tsize:4;\tsigned:0;",
            "field:s32 a;\toffset:28;\tsize:4;\tsigned:1;",
            "field:s32 b;\toffset:32;\tsize:4;\tsigned:1;",
            "field:s32 c;\toffset:36;\tsize:4;\tsigned:1;",
        )
    )
    assert decoder.kind is Kind.PROBE_OTHER
    assert decoder.ip is not None
    assert [operand and operand.name for operand in decoder.operands] == ["fpu", None, "a", "b"]


# --- which function -----------------------------------------------------------------------------

KALLSYMS = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000100 T kernel_fpu_begin_mask
ffffffff81000200 t save_fpregs_to_fpstate.isra.0
ffffffff81000300 t save_fpregs_to_fpstate.cold
ffffffff81000400 d kernel_fpu_end
ffffffffc0100000 t kvm_arch_vcpu_load\t[kvm]
zzzz t kernel_fpu_end
ffffffff81000500 T kernel_fpu_end
"""


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_kallsyms_in_pieces_of_any_size(step: int) -> None:
    symbols = find_symbols(KALLSYMS[at : at + step] for at in range(0, len(KALLSYMS), step))
    assert symbols.first == {
        "kernel_fpu_begin_mask": 0xFFFFFFFF81000100,
        "save_fpregs_to_fpstate": 0xFFFFFFFF81000200,
        "kvm_arch_vcpu_load": 0xFFFFFFFFC0100000,
        "kernel_fpu_end": 0xFFFFFFFF81000500,
    }
    assert symbols.near(0xFFFFFFFF81000204) == "save_fpregs_to_fpstate"
    assert symbols.near(0xFFFFFFFF8100023F) == "save_fpregs_to_fpstate"
    assert symbols.near(0xFFFFFFFF81000240) is None
    assert symbols.near(0xFFFFFFFF81000304) is None


def test_hidden_addresses_name_functions_and_find_none() -> None:
    symbols = find_symbols([b"0000000000000000 T kernel_fpu_end\n"])
    assert symbols.first == {"kernel_fpu_end": 0}
    assert symbols.near(4) is None


def test_names_of_clones_and_probes() -> None:
    assert base_name("save_fpregs_to_fpstate.isra.0") == "save_fpregs_to_fpstate"
    assert base_name("x.constprop.0.cold") == "x"
    assert function_in_name("kernel_fpu_end") == "kernel_fpu_end"
    assert function_in_name("p_kernel_fpu_begin_0") == "kernel_fpu_begin"
    assert function_in_name("kernel_fpu_begin_mask_1") == "kernel_fpu_begin_mask"
    assert function_in_name("save") is None


def recognised(symbols: Symbols, parsed: EventFormat, address: int) -> tuple[Kind, Trace]:
    trace = Trace("x", "y")
    return recognise(trace, symbols, parsed, address), trace


def test_the_address_is_stronger_than_the_name() -> None:
    symbols = find_symbols([KALLSYMS])
    ip = "field:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;"
    save = form("fpu", "save", ip)
    kind, trace = recognised(symbols, save, 0xFFFFFFFF81000204 - (1 << 64))
    assert kind is Kind.PROBE_SAVE
    assert trace.probes == {"fpu:save": ("save_fpregs_to_fpstate", "kallsyms")}
    # kallsyms has kernel_fpu_end elsewhere: this probe only borrows its name.
    assert recognised(symbols, form("fpu", "kernel_fpu_end", ip), 0x1234)[0] is Kind.PROBE_OTHER
    kind, trace = recognised(Symbols(), form("fpu", "kernel_fpu_end", ip), 0x1234)
    assert kind is Kind.PROBE_KFPU_END
    assert trace.probes == {"fpu:kernel_fpu_end": ("kernel_fpu_end", "name")}


def test_a_return_probe_is_told_but_stays_other() -> None:
    parsed = form(
        "fpu",
        "ret",
        "field:unsigned long __probe_func;\toffset:8;\tsize:8;\tsigned:0;",
        "field:unsigned long __probe_ret_ip;\toffset:16;\tsize:8;\tsigned:0;",
    )
    kind, trace = recognised(find_symbols([KALLSYMS]), parsed, 0xFFFFFFFF81000500)
    assert kind is Kind.PROBE_OTHER
    assert trace.probes == {"fpu:ret": ("kernel_fpu_end%return", "kallsyms")}


# --- fields -------------------------------------------------------------------------------------


def decoded(field: str, payload: bytes, big: bool = False, long_size: int = 8) -> object:
    return RecordDecoder(big, long_size).fields(form("x", "y", field), payload).get("v")


HEAD = bytes(8)


def test_numbers_by_size_and_sign() -> None:
    assert decoded("field:int v;\toffset:8;\tsize:4;\tsigned:1;", HEAD + b"\xfe\xff\xff\xff") == -2
    assert decoded("field:u8 v;\toffset:8;\tsize:1;\tsigned:0;", HEAD + b"\xfe") == 254
    number = "field:u64 v;\toffset:8;\tsize:8;\tsigned:0;"
    assert decoded(number, HEAD + b"\0\0\0\0\0\0\0\1", big=True) == 1
    assert decoded(number, HEAD + b"\xff" * 8) == (1 << 64) - 1


def test_pointers_are_hex() -> None:
    payload = HEAD + (0xFFFF8880B7C18880).to_bytes(8, "little")
    assert decoded("field:struct fpu * v;\toffset:8;\tsize:8;\tsigned:0;", payload) == (
        "0xffff8880b7c18880"
    )


def test_text_is_cut_at_nul_and_keeps_every_byte_readable() -> None:
    fixed = "field:char v[8];\toffset:8;\tsize:8;\tsigned:0;"
    assert decoded(fixed, HEAD + b"qemu\0xyz") == "qemu"
    assert decoded(fixed, HEAD + b"\xff\x1bqemu:v") == "\\xff\x1bqemu:v"
    assert decoded(fixed, HEAD + b"qe") == "qe"


@pytest.mark.parametrize("big", [False, True])
def test_dynamic_text(big: bool) -> None:
    order = "big" if big else "little"
    word = (12 | 5 << 16).to_bytes(4, order)  # type: ignore[arg-type]
    data_loc = "field:__data_loc char[] v;\toffset:8;\tsize:4;\tsigned:0;"
    assert decoded(data_loc, HEAD + word + b"true\0rest", big) == "true"
    word = (2 | 5 << 16).to_bytes(4, order)  # type: ignore[arg-type]
    rel_loc = "field:__rel_loc char[] v;\toffset:8;\tsize:4;\tsigned:0;"
    assert decoded(rel_loc, HEAD + word + b"..true\0rest", big) == "true"


def test_dynamic_fields_never_reach_beyond_the_record() -> None:
    data_loc = "field:__data_loc char[] v;\toffset:8;\tsize:4;\tsigned:0;"
    assert decoded(data_loc, HEAD + (12 | 60000 << 16).to_bytes(4, "little") + b"abc") == "abc"
    assert decoded(data_loc, HEAD + (60000 | 5 << 16).to_bytes(4, "little") + b"abc") == ""
    assert decoded(data_loc, HEAD) == ""


@pytest.mark.parametrize(
    ("ctype", "size", "long_size", "expected"),
    [
        ("u64 v[2]", 16, 8, (1, 2)),
        ("unsigned long v[2]", 16, 8, (1, 2)),
        ("u64 v[ENTRIES]", 16, 8, (1, 2)),
        ("unsigned long v[ENTRIES]", 16, 4, (1, 0, 2, 0)),
        ("unsigned short v[ENTRIES]", 4, 8, (1, 0)),
        ("unsigned char v[ENTRIES]", 2, 8, (1, 0)),
        ("unsigned int v[ENTRIES]", 8, 8, (1, 0)),
    ],
)
def test_arrays_are_tuples(
    ctype: str, size: int, long_size: int, expected: tuple[int, ...]
) -> None:
    payload = HEAD + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    field = f"field:{ctype};\toffset:8;\tsize:{size};\tsigned:0;"
    assert decoded(field, payload, long_size=long_size) == expected


def test_a_number_beyond_the_record_is_left_out() -> None:
    assert decoded("field:u64 v;\toffset:8;\tsize:8;\tsigned:0;", HEAD + b"abc") is None
