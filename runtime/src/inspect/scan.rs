//! One pass over a bundle: validation, caps, and a list of what was found.

use wasmparser::{
    BinaryReaderError, Encoding, ExternalKind, FuncToValidate, FuncValidatorAllocations,
    FunctionBody, Operator, Parser, Payload, TableType, TypeRef, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use nesos_types::resources::format_bytes;

use super::imports::{
    WASI_0_1_MODULE, missing_function, missing_interface, missing_of_module, wasi_package,
};
use super::{BundleInfo, BundleKind, InspectError, Interface, MissingImport, WasiVersion};
use crate::engine::{MEMORIES_PER_MODULE, MEMORY_BYTES, TABLE_ELEMENTS, TABLES_PER_MODULE};
use crate::guest_api::EXECUTOR_EVENTS;
use crate::service::INCOMING_HANDLER;

/// Functions in all modules of a bundle together. The largest programs that we know have 200,000.
const MAX_FUNCTIONS: u64 = 500_000;

/// Bytes of one function's body. wasmtime's own limit is 7.6 MB; interpreters' main loops take 1 MB.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Locals of one function × its loops: what makes a compiler's data-flow analysis slow.
const MAX_LOCALS_TIMES_LOOPS: u64 = 2_000_000;

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    is_component: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    missing: Vec<MissingImport>,
    spawns_threads: bool,
    imports_wasi_0_1: bool,
    minimum_memory_bytes: u64,
    maximum_memory_bytes: u64,
    has_unbounded_memory: bool,
    functions: u64,
}

/// Validates a bundle and lists what is in it.
pub(super) fn scan(bytes: &[u8]) -> Result<Found, InspectError> {
    let mut found = Found::default();
    let mut validator = Validator::new_with_features(features());
    let mut allocations = FuncValidatorAllocations::default();
    // How deep the parser is in modules and components inside one another.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| broken(&error, bytes))?;
        if let ValidPayload::Func(function, body) = validator
            .payload(&payload)
            .map_err(|error| broken(&error, bytes))?
        {
            check_cost(&body).map_err(|error| error.or_broken(bytes))?;
            allocations =
                validate(function, &body, allocations).map_err(|error| broken(&error, bytes))?;
        }
        found
            .look_at(&payload, &mut depth)
            .map_err(|error| error.or_broken(bytes))?;
    }
    Ok(found)
}

/// What wasmtime 48 enables with our settings.
fn features() -> WasmFeatures {
    WasmFeatures::default() | WasmFeatures::CM_ASYNC | WasmFeatures::EXCEPTIONS
}

fn validate(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, BinaryReaderError> {
    let mut validator = function.into_validator(allocations);
    validator.validate(body)?;
    Ok(validator.into_allocations())
}

/// Either kind of trouble, before it is known how many bytes there are.
enum Trouble {
    Parser(BinaryReaderError),
    Bundle(InspectError),
}

impl From<BinaryReaderError> for Trouble {
    fn from(error: BinaryReaderError) -> Self {
        Self::Parser(error)
    }
}

impl Trouble {
    fn or_broken(self, bytes: &[u8]) -> InspectError {
        match self {
            Self::Parser(error) => broken(&error, bytes),
            Self::Bundle(error) => error,
        }
    }
}

fn broken(error: &BinaryReaderError, bytes: &[u8]) -> InspectError {
    let offset = error.offset() as u64;
    // The parser wants more bytes than there are; or it was cut off just at the end of a section.
    if error.message().contains("unexpected end") || offset >= bytes.len() as u64 {
        return InspectError::Truncated(bytes.len() as u64);
    }
    InspectError::Invalid {
        message: error.message().to_owned(),
        offset,
    }
}

fn check_cost(body: &FunctionBody<'_>) -> Result<(), Trouble> {
    let bytes = body.range().len();
    let too_costly = |what: String| Err(Trouble::Bundle(InspectError::TooCostly(what)));
    if bytes > MAX_BODY_BYTES {
        return too_costly(format!(
            "a function of {bytes} bytes; the limit is {MAX_BODY_BYTES}"
        ));
    }
    let locals = body
        .get_locals_reader()?
        .into_iter()
        .try_fold(0_u64, |sum, group| {
            group.map(|(count, _)| sum + u64::from(count))
        })?;
    // A loop takes three bytes at least, so most functions need not be looked at.
    if locals.saturating_mul(bytes as u64 / 3) <= MAX_LOCALS_TIMES_LOOPS {
        return Ok(());
    }
    let loops = count_loops(body)?;
    if locals.saturating_mul(loops) > MAX_LOCALS_TIMES_LOOPS {
        return too_costly(format!(
            "a function of {locals} locals and {loops} loops; their product may be {MAX_LOCALS_TIMES_LOOPS}"
        ));
    }
    Ok(())
}

fn too_large(what: String) -> Trouble {
    Trouble::Bundle(InspectError::TooLarge(what))
}

fn check_count(what: &str, count: u32, limit: u32) -> Result<(), Trouble> {
    if count > limit {
        return Err(too_large(format!(
            "a module of {count} {what}; the limit is {limit}"
        )));
    }
    Ok(())
}

fn check_memory(minimum_bytes: u64) -> Result<(), Trouble> {
    if minimum_bytes > MEMORY_BYTES {
        return Err(too_large(format!(
            "a memory that starts with {}; the limit is {}",
            format_bytes(minimum_bytes),
            format_bytes(MEMORY_BYTES)
        )));
    }
    Ok(())
}

fn check_table(table: &TableType) -> Result<(), Trouble> {
    let elements = table.initial;
    if elements > TABLE_ELEMENTS as u64 {
        return Err(too_large(format!(
            "a table that starts with {elements} elements; the limit is {TABLE_ELEMENTS}"
        )));
    }
    Ok(())
}

fn count_loops(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut loops = 0;
    for operator in body.get_operators_reader()? {
        loops += u64::from(matches!(operator?, Operator::Loop { .. }));
    }
    Ok(loops)
}

impl Found {
    fn look_at(&mut self, payload: &Payload<'_>, depth: &mut u32) -> Result<(), Trouble> {
        match payload {
            Payload::Version { encoding, .. } => {
                if *depth == 0 {
                    self.is_component = *encoding == Encoding::Component;
                }
                *depth += 1;
            }
            Payload::End(_) => *depth -= 1,
            Payload::FunctionSection(section) => {
                self.count_functions(u64::from(section.count()))?
            }
            Payload::MemorySection(section) => {
                check_count("memories", section.count(), MEMORIES_PER_MODULE)?;
                for memory in section.clone() {
                    check_memory(self.add_memory(&memory?))?;
                }
            }
            Payload::TableSection(section) => {
                check_count("tables", section.count(), TABLES_PER_MODULE)?;
                for table in section.clone() {
                    check_table(&table?.ty)?;
                }
            }
            Payload::ImportSection(section) if !self.is_component => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    self.add_import(import.module, import.name, &import.ty);
                }
            }
            Payload::ExportSection(section) if !self.is_component => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.exports.push(export.name.to_owned());
                    }
                }
            }
            Payload::ComponentImportSection(section) if *depth == 1 => {
                for import in section.clone() {
                    let name = import?.name.name;
                    self.imports.push(name.to_owned());
                    self.missing.extend(missing_interface(name));
                }
            }
            Payload::ComponentExportSection(section) if *depth == 1 => {
                for export in section.clone() {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count_functions(&mut self, count: u64) -> Result<(), Trouble> {
        self.functions += count;
        if self.functions > MAX_FUNCTIONS {
            let what = format!("{} functions; the limit is {MAX_FUNCTIONS}", self.functions);
            return Err(Trouble::Bundle(InspectError::TooCostly(what)));
        }
        Ok(())
    }

    /// Answers what the memory starts with, in bytes.
    fn add_memory(&mut self, memory: &wasmparser::MemoryType) -> u64 {
        let page = 1_u64 << memory.page_size_log2.unwrap_or(16);
        let minimum = memory.initial.saturating_mul(page);
        self.minimum_memory_bytes = self.minimum_memory_bytes.saturating_add(minimum);
        self.has_unbounded_memory |= memory.maximum.is_none();
        let maximum = memory.maximum.unwrap_or_default().saturating_mul(page);
        self.maximum_memory_bytes = self.maximum_memory_bytes.saturating_add(maximum);
        minimum
    }

    fn add_import(&mut self, module: &str, name: &str, ty: &TypeRef) {
        self.imports.push(format!("{module}.{name}"));
        self.imports_wasi_0_1 |= module == WASI_0_1_MODULE;
        match ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                self.spawns_threads |= (module, name) == ("wasi", "thread-spawn");
                self.missing.extend(missing_function(module, name));
            }
            TypeRef::Memory(memory) => {
                self.add_memory(memory);
                if !(memory.shared && (module, name) == ("env", "memory")) {
                    self.missing.push(missing_of_module(module, name));
                }
            }
            TypeRef::Table(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {
                self.missing.push(missing_of_module(module, name));
            }
        }
    }

    /// What is imported and exported.
    pub(super) fn into_interface(self) -> Interface {
        Interface {
            is_component: self.is_component,
            imports: self.imports,
            exports: self.exports,
        }
    }

    /// The summary; refuses what is no command.
    pub(super) fn into_info(self) -> Result<BundleInfo, InspectError> {
        let wasi = if self.is_component && (self.is_executor() || self.is_service()) {
            self.imported_version()
        } else if self.is_component {
            Some(self.command_version()?)
        } else {
            self.check_start()?;
            self.imports_wasi_0_1.then_some(WasiVersion::V0_1)
        };
        Ok(self.summary(wasi))
    }

    /// The summary of what need not be a command.
    pub(super) fn into_survey(self) -> BundleInfo {
        let wasi = if self.is_component {
            self.command_version().ok()
        } else {
            self.imports_wasi_0_1.then_some(WasiVersion::V0_1)
        };
        self.summary(wasi)
    }

    fn is_executor(&self) -> bool {
        self.exports.iter().any(|name| name == EXECUTOR_EVENTS)
    }

    fn is_service(&self) -> bool {
        let mut exports = self.exports.iter();
        exports.any(|name| name.starts_with(INCOMING_HANDLER)) && self.command_version().is_err()
    }

    fn summary(self, wasi: Option<WasiVersion>) -> BundleInfo {
        let kind = match (self.is_component, self.spawns_threads) {
            (true, _) if self.is_executor() => BundleKind::Executor,
            (true, _) if self.is_service() => BundleKind::Service,
            (true, _) => BundleKind::Component,
            (false, true) => BundleKind::ThreadedModule,
            (false, false) => BundleKind::Module,
        };
        BundleInfo {
            kind,
            wasi,
            imports: self.imports,
            missing: self.missing,
            exports: self.exports,
            minimum_memory_bytes: self.minimum_memory_bytes,
            maximum_memory_bytes: (!self.has_unbounded_memory).then_some(self.maximum_memory_bytes),
        }
    }

    fn check_start(&self) -> Result<(), InspectError> {
        if self.exports.iter().any(|name| name == "_start") {
            return Ok(());
        }
        let what = if self.exports.iter().any(|name| name == "_initialize") {
            "the module is a reactor: it exports `_initialize` and no `_start`"
        } else {
            "the module exports no function `_start`; it is a library, or built without an entry point"
        };
        Err(InspectError::NotCommand(what.to_owned()))
    }

    /// The version of WASI that it imports, if any.
    fn imported_version(&self) -> Option<WasiVersion> {
        let versions = self.imports.iter().filter_map(|name| wasi_package(name));
        let versions = versions.filter_map(|(_, version)| match version.get(..4) {
            Some("0.2.") => Some(WasiVersion::V0_2),
            Some("0.3.") => Some(WasiVersion::V0_3),
            _ => None,
        });
        versions.max()
    }

    /// The version of WASI whose command this component is.
    fn command_version(&self) -> Result<WasiVersion, InspectError> {
        let run = self
            .exports
            .iter()
            .find(|name| name.starts_with("wasi:cli/run@"));
        match run.and_then(|name| wasi_package(name)) {
            Some((_, version)) if version.starts_with("0.2.") => Ok(WasiVersion::V0_2),
            Some((_, version)) if version.starts_with("0.3.") => Ok(WasiVersion::V0_3),
            Some((_, version)) => Err(InspectError::UnknownWorld(format!(
                "it exports wasi:cli/run@{version}, and 0.2 and 0.3 are hosted"
            ))),
            None => Err(InspectError::UnknownWorld(format!(
                "{}{}",
                self.strange_exports(),
                self.strange_imports()
            ))),
        }
    }

    /// What it wants that nobody provides, which tells best what it was made for.
    fn strange_imports(&self) -> String {
        let missing: Vec<_> = self
            .missing
            .iter()
            .map(|missing| missing.name.as_str())
            .collect();
        if missing.is_empty() {
            return String::new();
        }
        format!("; it imports {}, which nobody provides", missing.join(", "))
    }

    fn strange_exports(&self) -> String {
        match self.exports.as_slice() {
            [] => "it exports nothing, where a command exports wasi:cli/run".to_owned(),
            exports => format!(
                "it exports {}, where a command exports wasi:cli/run",
                exports.join(", ")
            ),
        }
    }
}
