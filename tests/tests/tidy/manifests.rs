//! The manifests of the workspace's members, read as data.

use std::{fs, path::Path};

use toml::{Table, Value};

/// The tables of a manifest that name dependencies; those of a target lie deeper.
const DEPENDENCIES: &str = "dependencies";
const DEV_DEPENDENCIES: &str = "dev-dependencies";
const BUILD_DEPENDENCIES: &str = "build-dependencies";

/// A member's manifest.
pub(crate) struct Manifest {
    /// The member's folder, relative to the root.
    pub(crate) folder: String,
    table: Table,
}

/// Another member that a member depends on.
pub(crate) struct Sibling<'a> {
    pub(crate) used: &'a Manifest,
    /// Whether only tests depend on it.
    pub(crate) for_tests: bool,
}

struct Dependency<'a> {
    kind: &'static str,
    name: &'a str,
    value: &'a Value,
}

/// The folders of the workspace's members, sorted.
pub(crate) fn members(root: &Path) -> Vec<String> {
    let table = read(&root.join("Cargo.toml"));
    let members = table["workspace"]["members"].as_array();
    let members = members.expect("a workspace lists its members");
    let mut members: Vec<String> = members
        .iter()
        .filter_map(|member| member.as_str().map(str::to_owned))
        .collect();
    members.sort_unstable();
    members
}

impl Manifest {
    /// The manifests of all members.
    pub(crate) fn of_members(root: &Path) -> Vec<Self> {
        members(root)
            .into_iter()
            .map(|folder| Self {
                table: read(&root.join(&folder).join("Cargo.toml")),
                folder,
            })
            .collect()
    }

    /// The members among `all` that this one depends on.
    pub(crate) fn siblings<'a>(&self, all: &'a [Self]) -> Vec<Sibling<'a>> {
        let mut siblings = Vec::new();
        for dependency in self.dependencies() {
            siblings.extend(
                all.iter()
                    .filter(|other| other.name() == dependency.name)
                    .map(|used| Sibling {
                        used,
                        for_tests: dependency.kind == DEV_DEPENDENCIES,
                    }),
            );
        }
        siblings
    }

    /// The dependencies whose names begin with one of `prefixes`, with the folder.
    pub(crate) fn naming(&self, prefixes: &[&str]) -> Vec<String> {
        self.dependencies()
            .iter()
            .filter(|dependency| prefixes.iter().any(|p| dependency.name.starts_with(p)))
            .map(|dependency| format!("{}: {}", self.folder, dependency.name))
            .collect()
    }

    /// The dependencies that do not say `workspace = true`, with the folder.
    pub(crate) fn own_versions(&self) -> Vec<String> {
        self.dependencies()
            .iter()
            .filter(|dependency| !from_workspace(dependency.value))
            .map(|dependency| format!("{}: {}", self.folder, dependency.name))
            .collect()
    }

    pub(crate) fn takes_workspace_lints(&self) -> bool {
        self.table.get("lints").is_some_and(from_workspace)
    }

    fn name(&self) -> &str {
        self.table["package"]["name"].as_str().unwrap_or_default()
    }

    /// Every dependency of every kind, those of single targets included.
    fn dependencies(&self) -> Vec<Dependency<'_>> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let of_targets = targets
            .into_iter()
            .flat_map(|targets| targets.values().filter_map(Value::as_table));
        std::iter::once(&self.table)
            .chain(of_targets)
            .flat_map(dependencies_in)
            .collect()
    }
}

fn dependencies_in(table: &Table) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    for kind in [DEPENDENCIES, DEV_DEPENDENCIES, BUILD_DEPENDENCIES] {
        let named = table.get(kind).and_then(Value::as_table);
        for (name, value) in named.into_iter().flatten() {
            found.push(Dependency { kind, name, value });
        }
    }
    found
}

fn from_workspace(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn read(path: &Path) -> Table {
    let text = fs::read_to_string(path).expect("a member has a manifest");
    text.parse().expect("cargo has read it too")
}
