//! Modules that are too large to write down: what a hostile tenant would send to a compiler.
//!
//! Each is valid, exports `_start` and a memory, and does nothing that matters when it runs; what it
//! costs, it costs before that. A caller picks the size.

/// The sections of a module, by their numbers in the binary format.
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const MEMORIES: u8 = 5;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// As many functions as asked for (at least one), each of them empty.
pub fn many_functions(count: usize) -> Vec<u8> {
    module(&vec![vec![0, END]; count.max(1)])
}

/// One function with that many locals and that many loops, each of which changes some locals: a
/// compiler in static single assignment form has locals × loops values to think about.
pub fn many_locals_and_loops(locals: usize, loops: usize) -> Vec<u8> {
    let locals = locals.max(1);
    let mut body = vec![1];
    leb128(&mut body, locals);
    body.push(I64);
    for index in 0..loops {
        append_loop(&mut body, index % locals, (index * 7 + 1) % locals);
    }
    body.push(END);
    module(&[body])
}

/// One function of blocks nested that deep.
pub fn deep_blocks(depth: usize) -> Vec<u8> {
    let mut body = vec![0];
    body.extend([BLOCK, EMPTY].repeat(depth));
    body.extend([END].repeat(depth));
    body.push(END);
    module(&[body])
}

const BLOCK: u8 = 0x02;
const LOOP: u8 = 0x03;
const EMPTY: u8 = 0x40;
const END: u8 = 0x0b;
const BR_IF: u8 = 0x0d;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I64_CONST: u8 = 0x42;
const I64_ADD: u8 = 0x7c;
const I32_WRAP_I64: u8 = 0xa7;
const I64: u8 = 0x7e;

/// `loop  first += 1;  br_if 0 second  end`
fn append_loop(body: &mut Vec<u8>, first: usize, second: usize) {
    body.extend([LOOP, EMPTY, LOCAL_GET]);
    leb128(body, first);
    body.extend([I64_CONST, 1, I64_ADD, LOCAL_SET]);
    leb128(body, first);
    body.push(LOCAL_GET);
    leb128(body, second);
    body.extend([I32_WRAP_I64, BR_IF, 0, END]);
}

/// A module of functions that neither take nor return anything; the first is `_start`.
fn module(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, TYPES, &[vec![0x60, 0, 0]]);
    section(&mut module, FUNCTIONS, &vec![vec![0]; bodies.len()]);
    section(&mut module, MEMORIES, &[vec![0, 1]]);
    let exports = [export("memory", 2), export("_start", 0)];
    section(&mut module, EXPORTS, &exports);
    let sized: Vec<Vec<u8>> = bodies.iter().map(|body| with_length(body)).collect();
    section(&mut module, CODE, &sized);
    module
}

/// The first of its kind, under a name.
fn export(name: &str, kind: u8) -> Vec<u8> {
    let mut export = with_length(name.as_bytes());
    export.extend([kind, 0]);
    export
}

fn section(module: &mut Vec<u8>, number: u8, items: &[Vec<u8>]) {
    let mut content = Vec::new();
    leb128(&mut content, items.len());
    content.extend(items.concat());
    module.push(number);
    module.extend(with_length(&content));
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut sized = Vec::with_capacity(bytes.len() + 4);
    leb128(&mut sized, bytes.len());
    sized.extend_from_slice(bytes);
    sized
}

/// Unsigned LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
fn leb128(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}
