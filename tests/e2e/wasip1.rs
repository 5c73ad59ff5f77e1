//! Commands for WASI 0.1.

use nesos_artifacts::wasip1 as guests;

use crate::harness::{run, run_with};

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_wasip1!(is_tested);

#[test]
fn args_env() {
    run_with(&["--env", "A=b=c", "--env", "EMPTY="], guests::ARGS_ENV)
        .args(&["--version", "-x", "two words", "", "--", "--mem"])
        .go()
        .exits(0)
        .output_holds("arg 1 \"--version\"\narg 2 \"-x\"\narg 3 \"two words\"\narg 4 \"\"\narg 5 \"--\"\narg 6 \"--mem\"\n")
        .output_holds("env A=\"b=c\"\nenv EMPTY=\"\"\n")
        .says_nothing();
}

#[test]
fn cat() {
    let input: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let outcome = run(guests::CAT).input(input.clone()).go().exits(0);
    assert!(outcome.stdout == input, "12 MB come back unaltered");
    assert!(outcome.stderr.is_empty());
}

#[test]
fn clock_random() {
    let first = run(guests::CLOCK_RANDOM).go().exits(0);
    let second = run(guests::CLOCK_RANDOM).go().exits(0);
    assert_ne!(
        first.stdout, second.stdout,
        "clocks and randomness are real"
    );
}

#[test]
fn count_words() {
    run(guests::COUNT_WORDS)
        .input("one two\nthree\n")
        .go()
        .exits(0)
        .prints("2 3 14\n");
}

#[test]
fn disk_fill() {
    run_with(&["--disk", "8MiB"], guests::DISK_FILL)
        .go()
        .exits(0)
        .output_holds("refused after 8 MiB");
}

#[test]
fn disk_sparse() {
    run_with(&["--disk", "8MiB"], guests::DISK_SPARSE)
        .go()
        .exits(0)
        .output_holds("write at 1 TiB: refused")
        .output_holds("length of 4 TiB: refused");
}

#[test]
fn echo_lines() {
    run(guests::ECHO_LINES)
        .input("hello\nbye\nnever read\n")
        .go()
        .exits(0)
        .prints("1: hello\n2: bye\n");
}

#[test]
fn exit_code() {
    for code in [0, 1, 42, 255] {
        run(guests::EXIT_CODE)
            .args(&[&code.to_string()])
            .go()
            .exits(code);
    }
}

#[test]
fn files() {
    run(guests::FILES).go().exits(0).prints("/ ok\n/tmp ok\n");
}

#[test]
fn hello() {
    run(guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n")
        .says_nothing();
}

#[test]
fn host_call_burner() {
    run(guests::HOST_CALL_BURNER)
        .args(&["50"])
        .go()
        .exits(0)
        .prints("read the clock 50 thousand times\n");
}

#[test]
fn many_files() {
    run(guests::MANY_FILES)
        .go()
        .exits(0)
        .output_holds("refused after");
}

#[test]
fn memory_bomb() {
    run_with(&["--mem", "32MiB"], guests::MEMORY_BOMB)
        .go()
        .exits(134)
        .says("memory");
}

#[test]
fn memory_grow() {
    let outcome = run_with(&["--mem", "32MiB"], guests::MEMORY_GROW)
        .go()
        .exits(0);
    let bytes: u64 = outcome
        .text()
        .split_whitespace()
        .nth(4)
        .and_then(|number| number.parse().ok())
        .expect("grew from A to B bytes");
    assert!((24 << 20..=32 << 20).contains(&bytes), "{outcome}");
}

#[test]
fn noop() {
    run(guests::NOOP).go().exits(0).prints("").says_nothing();
}

#[test]
fn open_hold() {
    let outcome = run(guests::OPEN_HOLD).go().exits(0);
    let held: u32 = outcome
        .text()
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("held N files");
    assert!((200..=256).contains(&held), "{outcome}");
}

#[test]
fn open_many() {
    run(guests::OPEN_MANY)
        .go()
        .exits(0)
        .prints("opened 1000 files, read 1000 bytes\n");
}

#[test]
fn panic() {
    run(guests::PANIC)
        .go()
        .exits(134)
        .prints("about to panic\n")
        .says("the guest gave up")
        .says("trap");
}

#[test]
fn path_escape() {
    run(guests::PATH_ESCAPE).go().exits(0);
}

#[test]
fn primes() {
    run(guests::PRIMES)
        .args(&["1000"])
        .go()
        .exits(0)
        .prints("168 primes below 1000, the largest is 997\n")
        .says("100 %: 168 primes so far");
}

#[test]
fn sleep() {
    run(guests::SLEEP)
        .args(&["0.02", "4"])
        .go()
        .exits(0)
        .prints("slept 0.02 s in 4 steps\n");
}

#[test]
fn spin() {
    run_with(&["--timeout", "100ms"], guests::SPIN)
        .go()
        .exits(124)
        .says("time");
}

#[test]
fn spin_after_input() {
    run_with(&["--timeout", "300ms"], guests::SPIN_AFTER_INPUT)
        .input("something to read")
        .go()
        .exits(124);
}

#[test]
fn spin_for() {
    let first = run(guests::SPIN_FOR).args(&["1"]).go().exits(0);
    let second = run(guests::SPIN_FOR).args(&["1"]).go().exits(0);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn stack_overflow() {
    run(guests::STACK_OVERFLOW).go().exits(134).says("stack");
}

#[test]
fn stderr() {
    run(guests::STDERR)
        .go()
        .exits(0)
        .prints("out 0\nout 1\nout 2\n")
        .says("err 0\nerr 1\nerr 2\n");
}

#[test]
fn stdout_flood() {
    let outcome = run(guests::STDOUT_FLOOD).args(&["5"]).go().exits(0);
    assert_eq!(outcome.stdout.len(), 5 << 20, "nothing is lost");
}

#[test]
fn trap_oob() {
    run(guests::TRAP_OOB)
        .go()
        .exits(134)
        .says("out of bounds memory access");
}

#[test]
fn trap_unreachable() {
    run(guests::TRAP_UNREACHABLE)
        .go()
        .exits(134)
        .says("unreachable")
        .says("middle")
        .says("outer")
        .says("trap_unreachable.rs:");
}

#[test]
fn list_files() {
    run(guests::LIST_FILES).go().exits(0).output_holds("/tmp/");
}

#[test]
fn memory_hold() {
    run_with(&["--mem", "96MiB"], guests::MEMORY_HOLD)
        .args(&["64"])
        .go()
        .exits(0)
        .prints("holding 64 MiB\n");
}

#[test]
fn network_escape() {
    run(guests::NETWORK_ESCAPE).go().exits(0);
}

#[test]
fn read_file() {
    run(guests::READ_FILE).args(&["/not/there"]).go().exits(1);
}

#[test]
fn shout() {
    run(guests::SHOUT)
        .input("a\nb")
        .go()
        .exits(0)
        .prints("A\nB\n");
}

#[test]
fn ticks() {
    run(guests::TICKS)
        .args(&["3", "1"])
        .go()
        .exits(0)
        .prints("tick 1\ntick 2\ntick 3\n");
}

#[test]
fn note_down() {
    let note = |path: &str| run(guests::NOTE_DOWN).args(&[path, "once", "1"]).go();
    note("/tmp/notes").exits(0).prints("");
    note("/nowhere/notes").exits(1).says("/nowhere/notes");
}

#[test]
fn write_file() {
    run(guests::WRITE_FILE)
        .args(&["/tmp/note", "text"])
        .go()
        .exits(0);
    run(guests::WRITE_FILE)
        .args(&["/../../note", "text"])
        .go()
        .exits(1)
        .says("/../../note");
}

#[test]
fn search() {
    let lines = "ten\nzehn\ndix\n";
    run(guests::SEARCH)
        .args(&["^(t|d)"])
        .input(lines)
        .go()
        .exits(0)
        .prints("ten\ndix\n");
    let none = run(guests::SEARCH).args(&["x{5}"]).input(lines).go();
    none.exits(1).prints("");
    let when = run(guests::SEARCH).args(&["--when"]).go().exits(0);
    assert!(when.text().parse::<u128>().is_ok(), "{when}");
}
