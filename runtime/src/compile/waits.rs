//! Makes waits on shared memory interruptible.
//!
//! wasmtime serves `memory.atomic.wait` by blocking the OS thread until somebody notifies that address,
//! and whoever wants to end the guest does not know the address. So every wait is replaced, before
//! compiling, by a loop of short waits that looks at the epoch in between:
//!
//! ```text
//! loop (result i32)
//!   result = wait(address, expected, min_u(timeout, SLICE))
//!   if result is not "timed out", or this was the last slice: result
//!   else: timeout -= SLICE unless it is negative, which means for ever; again
//! end
//! ```
//!
//! A guest can tell the difference in one way: if it is notified between two slices it learns "the
//! value is another" instead of "woken", as after any wait that came a moment too late. Code moves, so
//! source lines in debug info no longer fit and are dropped; function names stay.

use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, FunctionBody, FunctionSectionReader,
    Operator, TypeSectionReader,
};

/// How long one wait lasts at most, in nanoseconds; a guest is ended within it.
const SLICE_NS: i64 = 5_000_000;

/// Ids of sections.
mod section {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const CODE: u8 = 10;
}

/// Opcodes that the loop is made of.
mod op {
    pub(super) const LOOP: u8 = 0x03;
    pub(super) const IF: u8 = 0x04;
    pub(super) const ELSE: u8 = 0x05;
    pub(super) const END: u8 = 0x0b;
    pub(super) const BR: u8 = 0x0c;
    pub(super) const SELECT: u8 = 0x1b;
    pub(super) const LOCAL_GET: u8 = 0x20;
    pub(super) const LOCAL_SET: u8 = 0x21;
    pub(super) const LOCAL_TEE: u8 = 0x22;
    pub(super) const I32_CONST: u8 = 0x41;
    pub(super) const I64_CONST: u8 = 0x42;
    pub(super) const I32_NE: u8 = 0x47;
    pub(super) const I64_LT_S: u8 = 0x53;
    pub(super) const I64_LT_U: u8 = 0x54;
    pub(super) const I64_LE_U: u8 = 0x58;
    pub(super) const I32_OR: u8 = 0x72;
    pub(super) const I64_SUB: u8 = 0x7d;
    pub(super) const I64: u8 = 0x7e;
    pub(super) const I32: u8 = 0x7f;
}

/// What a wait returns that nobody ended.
const TIMED_OUT: i64 = 2;

/// The module with bounded waits.
pub(super) fn bound_waits(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    const HEADER: usize = 8;
    let mut out = Vec::with_capacity(module.len() + module.len() / 16);
    out.extend_from_slice(&module[..HEADER]);
    let mut reader = BinaryReader::new(&module[HEADER..], HEADER);
    let mut parameters_of_types = Vec::new();
    let mut parameters = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let offset = reader.original_position();
        let contents = reader.read_bytes(size)?;
        let section = BinaryReader::new(contents, offset);
        match id {
            section::TYPE => parameters_of_types = parameter_counts(section)?,
            section::FUNCTION => {
                for ty in FunctionSectionReader::new(section)? {
                    parameters.push(parameters_of_types.get(ty? as usize).copied().unwrap_or(0));
                }
            }
            section::CODE => {
                put_section(&mut out, id, &bounded_code(section, &parameters)?);
                continue;
            }
            section::CUSTOM if is_debug_info(contents) => continue,
            _ => {}
        }
        put_section(&mut out, id, contents);
    }
    Ok(out)
}

fn parameter_counts(section: BinaryReader<'_>) -> Result<Vec<u32>, BinaryReaderError> {
    let types = TypeSectionReader::new(section)?.into_iter_err_on_gc_types();
    types
        .map(|ty| ty.map(|ty| u32::try_from(ty.params().len()).unwrap_or(u32::MAX)))
        .collect()
}

fn is_debug_info(contents: &[u8]) -> bool {
    let name = BinaryReader::new(contents, 0).read_string();
    name.is_ok_and(|name| name.starts_with(".debug_"))
}

fn bounded_code(
    section: BinaryReader<'_>,
    parameters: &[u32],
) -> Result<Vec<u8>, BinaryReaderError> {
    let reader = CodeSectionReader::new(section)?;
    let mut out = Vec::new();
    put_unsigned(&mut out, u64::from(reader.count()));
    for (index, body) in reader.into_iter().enumerate() {
        let body = body?;
        let parameters = parameters.get(index).copied().unwrap_or(0);
        let bytes = match bounded_body(&body, parameters)? {
            Some(bytes) => bytes,
            None => body.as_bytes().to_vec(),
        };
        put_unsigned(&mut out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

/// A function's body with its waits replaced; none if it has none.
fn bounded_body(
    body: &FunctionBody<'_>,
    parameters: u32,
) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let waits = find_waits(body)?;
    if waits.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::new();
    let locals = put_locals(&mut out, body, parameters)?;
    let mut copied = body.get_operators_reader()?.original_position();
    let bytes = body.as_bytes();
    let from = body.range().start;
    for wait in waits {
        out.extend_from_slice(&bytes[copied - from..wait.start - from]);
        locals.put_loop(
            &mut out,
            wait.expects_i64,
            &bytes[wait.start - from..wait.end - from],
        );
        copied = wait.end;
    }
    out.extend_from_slice(&bytes[copied - from..]);
    Ok(Some(out))
}

/// Where a wait instruction is, in offsets of the file.
struct Wait {
    start: usize,
    end: usize,
    expects_i64: bool,
}

fn find_waits(body: &FunctionBody<'_>) -> Result<Vec<Wait>, BinaryReaderError> {
    let mut waits = Vec::new();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let start = operators.original_position();
        let expects_i64 = match operators.read()? {
            Operator::MemoryAtomicWait32 { .. } => false,
            Operator::MemoryAtomicWait64 { .. } => true,
            _ => continue,
        };
        let end = operators.original_position();
        waits.push(Wait {
            start,
            end,
            expects_i64,
        });
    }
    Ok(waits)
}

/// The locals that the loops use, numbered behind the function's own.
struct Locals {
    address: u32,
    expected_i32: u32,
    result: u32,
    expected_i64: u32,
    timeout: u32,
}

/// Writes the declarations of the function's locals and of ours.
fn put_locals(
    out: &mut Vec<u8>,
    body: &FunctionBody<'_>,
    parameters: u32,
) -> Result<Locals, BinaryReaderError> {
    let own = body.get_locals_reader()?;
    let groups = own.get_count();
    let mut first = parameters;
    let declared = own.original_position();
    let mut end = declared;
    let mut groups_reader = own;
    for _ in 0..groups {
        let (count, _) = groups_reader.read()?;
        first += count;
        end = groups_reader.original_position();
    }
    let from = body.range().start;
    put_unsigned(out, u64::from(groups) + 2);
    out.extend_from_slice(&body.as_bytes()[declared - from..end - from]);
    out.extend_from_slice(&[3, op::I32, 2, op::I64]);
    Ok(Locals {
        address: first,
        expected_i32: first + 1,
        result: first + 2,
        expected_i64: first + 3,
        timeout: first + 4,
    })
}

impl Locals {
    fn put_loop(&self, out: &mut Vec<u8>, expects_i64: bool, wait: &[u8]) {
        let expected = if expects_i64 {
            self.expected_i64
        } else {
            self.expected_i32
        };
        let mut code = Code(out);
        code.local(op::LOCAL_SET, self.timeout);
        code.local(op::LOCAL_SET, expected);
        code.local(op::LOCAL_SET, self.address);
        code.bytes(&[op::LOOP, op::I32]);
        code.local(op::LOCAL_GET, self.address);
        code.local(op::LOCAL_GET, expected);
        // min_u(timeout, SLICE): for ever is negative, which is large when it has no sign.
        code.local(op::LOCAL_GET, self.timeout);
        code.constant(op::I64_CONST, SLICE_NS);
        code.local(op::LOCAL_GET, self.timeout);
        code.constant(op::I64_CONST, SLICE_NS);
        code.bytes(&[op::I64_LT_U, op::SELECT]);
        code.bytes(wait);
        code.local(op::LOCAL_TEE, self.result);
        code.constant(op::I32_CONST, TIMED_OUT);
        code.bytes(&[op::I32_NE]);
        code.local(op::LOCAL_GET, self.timeout);
        code.constant(op::I64_CONST, SLICE_NS);
        code.bytes(&[op::I64_LE_U, op::I32_OR, op::IF, op::I32]);
        code.local(op::LOCAL_GET, self.result);
        code.bytes(&[op::ELSE]);
        code.local(op::LOCAL_GET, self.timeout);
        code.local(op::LOCAL_GET, self.timeout);
        code.constant(op::I64_CONST, SLICE_NS);
        code.bytes(&[op::I64_SUB]);
        code.local(op::LOCAL_GET, self.timeout);
        code.constant(op::I64_CONST, 0);
        code.bytes(&[op::I64_LT_S, op::SELECT]);
        code.local(op::LOCAL_SET, self.timeout);
        code.bytes(&[op::BR, 1, op::END, op::END]);
    }
}

/// Instructions being written.
struct Code<'a>(&'a mut Vec<u8>);

impl Code<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn local(&mut self, op: u8, local: u32) {
        self.0.push(op);
        put_unsigned(self.0, u64::from(local));
    }

    fn constant(&mut self, op: u8, value: i64) {
        self.0.push(op);
        put_signed(self.0, value);
    }
}

fn put_section(out: &mut Vec<u8>, id: u8, contents: &[u8]) {
    out.push(id);
    put_unsigned(out, contents.len() as u64);
    out.extend_from_slice(contents);
}

/// LEB128.
fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Signed LEB128.
fn put_signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: &str = r#"(module
        (import "env" "memory" (memory 1 1 shared))
        (func $plain (param i32) (result i32) (local.get 0))
        (func (export "wait") (param i64 i64) (result i32)
            (local $before f64) (local $twice i32)
            (if (i32.eqz (call $plain (i32.const 1))) (then unreachable))
            (local.set $twice
                (memory.atomic.wait32 offset=8 (i32.const 0) (i32.const 7) (local.get 0)))
            (i32.add
                (i32.mul (local.get $twice) (i32.const 10))
                (memory.atomic.wait64 (i32.const 16) (i64.const 0) (local.get 1)))))"#;

    #[test]
    fn waits_still_tell_what_they_told() {
        let module = bound_waits(&wat::parse_str(WAITS).unwrap()).unwrap();
        let engine = crate::engine::unpooled(crate::engine::Flavour::Threads).unwrap();
        let module = wasmtime::Module::new(&engine, module).unwrap();
        let memory =
            wasmtime::SharedMemory::new(&engine, wasmtime::MemoryType::shared(1, 1)).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = wasmtime::Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let wait = instance
            .get_typed_func::<(i64, i64), i32>(&mut store, "wait")
            .unwrap();
        // The first finds another value than 7; the second times out, in one slice or in three.
        for timeout in [0, 1, 12_000_000] {
            assert_eq!(wait.call(&mut store, (-1, timeout)).unwrap(), 12);
        }
    }

    #[test]
    fn a_wait_for_ever_is_ended_by_the_epoch() {
        let module = bound_waits(&wat::parse_str(WAITS).unwrap()).unwrap();
        let engine = crate::engine::unpooled(crate::engine::Flavour::Threads).unwrap();
        let module = wasmtime::Module::new(&engine, module).unwrap();
        let memory =
            wasmtime::SharedMemory::new(&engine, wasmtime::MemoryType::shared(1, 1)).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = wasmtime::Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let wait = instance
            .get_typed_func::<(i64, i64), i32>(&mut store, "wait")
            .unwrap();
        let waiting = std::thread::spawn(move || wait.call(&mut store, (-1, -1)).unwrap_err());
        engine.increment_epoch();
        let error = waiting.join().unwrap();
        assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::Interrupt));
    }
}
