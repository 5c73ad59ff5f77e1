//! A project: a folder with a `nesos.toml`; what is built from it, packed as an OCI layout on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use globset::{Glob, GlobSet, GlobSetBuilder};
use nesos_bundle::artifact::{Blob, Packed, Parts, pack};
use nesos_bundle::files;
use nesos_bundle::manifest::{FILE_NAME, Files, Kind, Manifest};
use nesos_bundle::oci::{ImageIndex, Interface};
use nesos_runtime::{BundleInfo, BundleKind, InspectError, inspect_bytes, survey_bytes};

use crate::failure::Failure;
use crate::run::bundle;

mod componentize;

use componentize::componentized;

/// A project.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
    text: Bytes,
}

impl Project {
    /// Reads the project in a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE_NAME);
        let text = fs::read(&path).map_err(|error| {
            let what = format!(
                "cannot read {}; `nesos new` makes a project",
                path.display()
            );
            Failure::new(&what, error)
        })?;
        let manifest = Manifest::parse(&text)
            .map_err(|error| Failure::said(format!("{}: {error}", folder.display())))?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            text: text.into(),
        })
    }

    /// Packs what was built.
    pub(crate) fn pack(&self) -> Result<Packed, Failure> {
        let build = self.manifest.build.as_ref().ok_or_else(|| {
            Failure::said(format!(
                "{FILE_NAME} does not say what is built: add [build] with artifact = \"…\""
            ))
        })?;
        let path = self.folder.join(&build.artifact);
        let mut parts = wasm_of(&path, Some(self.manifest.kind))?;
        parts.manifest = Some(self.text.clone());
        if let Some(wanted) = &self.manifest.files {
            parts.files = Some(self.pack_files(wanted)?);
        }
        pack(parts).map_err(|error| Failure::new(&format!("cannot pack {}", path.display()), error))
    }

    /// Where the bundle of this project lies once it is built.
    pub(crate) fn layout(&self) -> PathBuf {
        let name = self.manifest.name.replace('/', "-");
        self.folder
            .join("target/nesos")
            .join(format!("{name}.nesos"))
    }

    /// Takes away what an earlier build has left there.
    pub(crate) fn remove_layout(&self) -> Result<(), Failure> {
        let layout = self.layout();
        match fs::remove_dir_all(&layout) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
                &format!("cannot remove the old {}", layout.display()),
                error,
            )),
            _ => Ok(()),
        }
    }

    fn pack_files(&self, wanted: &Files) -> Result<Bytes, Failure> {
        let patterns = patterns(&wanted.include)?;
        let mut found = BTreeMap::new();
        collect(&self.folder, &self.folder, &patterns, &mut found)?;
        if found.is_empty() {
            return Err(Failure::said(format!(
                "{FILE_NAME}: files.include matches no file below {}",
                self.folder.display()
            )));
        }
        files::pack(&found).map_err(|error| Failure::new("cannot pack the files", error))
    }
}

/// What exports of a policy begin with.
const POLICY: &str = "nesos:policy/";

/// What a module or component is, and what is in it. A command must be one; whether the rest is what it is said
/// to be its registry sees.
pub(crate) fn look(
    wasm: &[u8],
    declared: Option<Kind>,
) -> Result<(Kind, BundleInfo), InspectError> {
    let survey = survey_bytes(wasm)?;
    let is_policy = survey.exports.iter().any(|name| name.starts_with(POLICY));
    match declared {
        Some(Kind::Command) => Ok((Kind::Command, inspect_bytes(wasm)?)),
        Some(kind) => Ok((kind, survey)),
        None if is_policy => Ok((Kind::Policy, survey)),
        None => {
            let info = inspect_bytes(wasm)?;
            let kind = match info.kind {
                BundleKind::Executor => Kind::Executor,
                BundleKind::Service => Kind::Service,
                BundleKind::Module | BundleKind::ThreadedModule | BundleKind::Component => {
                    Kind::Command
                }
            };
            Ok((kind, info))
        }
    }
}

/// A file as the parts of a bundle without a manifest. It is seen to that it can run at all.
pub(crate) fn wasm_of(path: &Path, declared: Option<Kind>) -> Result<Parts, Failure> {
    let bundle = componentized(path, bundle::read(path)?)?;
    let (_, info) = look(&bundle, declared).map_err(|error| bundle::refused(path, &error))?;
    Ok(Parts {
        wasm: bundle,
        interface: Some(Interface {
            imports: info.imports,
            ..Interface::default()
        }),
        ..Parts::default()
    })
}

fn patterns(include: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in include {
        let glob = Glob::new(pattern).map_err(|error| {
            Failure::new(
                &format!("{FILE_NAME}: files.include: {pattern:?} is no pattern"),
                error,
            )
        })?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| Failure::new("files.include", error))
}

/// Plain files below a folder that match; what begins with a dot, and `target`, is not looked into.
fn collect(
    root: &Path,
    folder: &Path,
    patterns: &GlobSet,
    found: &mut BTreeMap<String, Bytes>,
) -> Result<(), Failure> {
    let unreadable = |path: &Path| {
        let what = format!("cannot read {}", path.display());
        move |error| Failure::new(&what, error)
    };
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable(folder))?);
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || (folder == root && name == "target") {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, patterns, found)?;
        } else if let Some(inside) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && kind.is_file()
            && patterns.is_match(inside)
        {
            let bytes = fs::read(&path).map_err(unreadable(&path))?;
            found.insert(inside.to_owned(), bytes.into());
        }
    }
    Ok(())
}

/// Writes a bundle as an OCI image layout, in place of what was there.
pub(crate) fn write_layout(folder: &Path, packed: &Packed) -> Result<(), Failure> {
    let what = format!("cannot write {}", folder.display());
    let write = || -> std::io::Result<()> {
        let blobs = folder.join("blobs/sha256");
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(&blobs)?;
        for blob in packed.blobs.iter().chain([&packed.manifest]) {
            fs::write(blobs.join(blob.digest().hex()), &blob.bytes)?;
        }
        fs::write(
            folder.join("oci-layout"),
            "{\"imageLayoutVersion\":\"1.0.0\"}",
        )?;
        let index = ImageIndex::new(vec![packed.manifest.descriptor.clone()]);
        fs::write(folder.join("index.json"), index.to_bytes())
    };
    write().map_err(|error| Failure::new(&what, error))
}

/// Reads a bundle from an OCI image layout, and compares every digest.
pub(crate) fn read_layout(folder: &Path) -> Result<Packed, Failure> {
    let what = format!("{} is no OCI layout of a bundle", folder.display());
    let said = |why: String| Failure::said(format!("{what}: {why}"));
    let blob = |descriptor: &nesos_bundle::oci::Descriptor| -> Result<Blob, Failure> {
        let path = folder.join("blobs/sha256").join(descriptor.digest.hex());
        let bytes = fs::read(&path).map_err(|error| Failure::new(&what, error))?;
        let blob = Blob::new(&descriptor.media_type, bytes);
        if blob.digest() == descriptor.digest {
            Ok(blob)
        } else {
            Err(said(format!(
                "{} has another digest than its name",
                path.display()
            )))
        }
    };
    let index = fs::read(folder.join("index.json")).map_err(|error| Failure::new(&what, error))?;
    let index = ImageIndex::parse(&index).map_err(|error| said(error.to_string()))?;
    let [manifest] = &index.manifests[..] else {
        return Err(said(format!(
            "it holds {} bundles, not one",
            index.manifests.len()
        )));
    };
    let manifest = blob(manifest)?;
    let image = nesos_bundle::oci::ImageManifest::parse(&manifest.bytes);
    let image = image.map_err(|error| said(error.to_string()))?;
    let blobs = [&image.config].into_iter().chain(&image.layers).map(blob);
    Ok(Packed {
        blobs: blobs.collect::<Result<_, _>>()?,
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(module (func (export "_start")))`
    const COMMAND: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\
        \x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

    fn project(manifest: &str) -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(path, content).expect("written");
        };
        write(FILE_NAME, manifest.as_bytes());
        write("out/a.wasm", COMMAND);
        write("static/a.txt", b"a");
        write("static/deep/b.txt", b"b");
        write(".git/c.txt", b"c");
        let project = Project::open(folder.path()).expect("a project");
        (folder, project)
    }

    const BUILD: &str = "[build]\nartifact = \"out/a.wasm\"\n";

    #[test]
    fn what_is_packed_survives_the_disk() {
        let text = format!("name = \"a/b\"\n[files]\ninclude = [\"**/*.txt\"]\n{BUILD}");
        let (_folder, project) = project(&text);
        let packed = project.pack().expect("packs");
        assert_eq!(packed.blobs.len(), 4, "config, wasm, nesos.toml, files");
        write_layout(&project.layout(), &packed).expect("written");
        assert_eq!(read_layout(&project.layout()).expect("read"), packed);
        assert_eq!(
            project.pack().expect("packs").manifest,
            packed.manifest,
            "the same again"
        );
    }

    #[test]
    fn a_changed_blob_is_found_out() {
        let (_folder, project) = project(&format!("name = \"a\"\n{BUILD}"));
        let packed = project.pack().expect("packs");
        write_layout(&project.layout(), &packed).expect("written");
        let blob = project
            .layout()
            .join("blobs/sha256")
            .join(packed.blobs[1].digest().hex());
        fs::write(blob, b"\0asm\x01\0\0\x01").expect("written");
        let failure = read_layout(&project.layout()).expect_err("changed");
        assert!(
            failure.line().contains("another digest"),
            "{}",
            failure.line()
        );
    }

    #[test]
    fn what_cannot_be_packed_is_said() {
        for (text, words) in [
            ("name = \"a\"\n".to_owned(), "[build]"),
            (
                "name = \"a\"\n[build]\nartifact = \"b.wasm\"\n".to_owned(),
                "b.wasm",
            ),
            (
                format!("name = \"a\"\n[files]\ninclude = [\"*.jpg\"]\n{BUILD}"),
                "matches no file",
            ),
            (
                format!("name = \"a\"\n[files]\ninclude = [\"[\"]\n{BUILD}"),
                "no pattern",
            ),
        ] {
            let (_folder, project) = project(&text);
            let failure = project.pack().expect_err(words);
            assert!(failure.line().contains(words), "{}", failure.line());
        }
    }
}
