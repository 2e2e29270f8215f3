//! `cargo xtask tidy`: the house rules that no compiler checks. Every finding is printed as `file:line: what`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::command;

mod docs;
mod source;
mod translation;

/// Lines of a source file.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "c1m/src/causes/table.rs",
        "the cause table: one row after the other",
    ),
    (
        "c1m/src/lab/table.rs",
        "the labs' table: one lab after the other",
    ),
    (
        "c1m/src/trace/hooks/table.rs",
        "the hook table: one hook after the other",
    ),
];

/// Functions that may be longer (file, name), and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Macros that must not stay in the code.
const BANNED_MACROS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Where people's and build machines' files lie: a path from there works nowhere else.
const MACHINE_DIRS: [&str; 3] = ["/home/", "/root/", "/Users/"];

/// Files that may name such a directory, and why.
const NAMES_MACHINE_DIRS: &[(&str, &str)] = &[("xtask/src/tidy.rs", "the rule itself")];

/// What a reader expects to find.
const MUST_EXIST: [&str; 11] = [
    "README.md",
    "README.zh-CN.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "deny.toml",
    "docs/causes.md",
    "docs/record.schema.json",
    ".ci/run",
];

/// One breach of a rule. Lines count from 1; 0 means the file as a whole.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.file, self.what),
            line => write!(out, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// A text file of the project; the path is relative to the root.
pub(crate) struct Text {
    path: String,
    content: String,
}

/// Checks every rule, prints each finding, and fails if there is one.
pub(crate) fn run() -> Result<()> {
    let texts = texts()?;
    let mut findings = missing_files();
    for text in &texts {
        findings.extend(machine_paths(text));
        if text.path.ends_with(".rs") {
            findings.extend(rust(text));
        }
        if text.path.ends_with(".md") {
            findings.extend(docs::links(text, &command::root()));
        }
    }
    findings.extend(stale_exceptions(&texts));
    let named = |path: &str| texts.iter().find(|text| text.path == path);
    if let (Some(english), Some(chinese)) = (named("README.md"), named("README.zh-CN.md")) {
        findings.extend(translation::differences(english, chinese));
    }
    // A program that does not build or answer is one finding among the others.
    match against_program(&texts) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::new("c1m", 0, format!("{error:#}"))),
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files, no finding", texts.len()),
        count => bail!("tidy: {count} finding(s), see above"),
    }
    Ok(())
}

/// What documents say of the program, compared with the program of now: so it is built first.
fn against_program(texts: &[Text]) -> Result<Vec<Finding>> {
    command::run(command::host_cargo("build").args(["--quiet", "--locked", "--package", "c1m"]))?;
    let c1m = command::target_dir().join("debug/c1m");
    let mut findings = Vec::new();
    if let Some(readme) = texts.iter().find(|text| text.path == "README.md") {
        findings.extend(docs::commands(readme, &c1m)?);
    }
    findings.extend(docs::causes(&c1m)?);
    Ok(findings)
}

fn missing_files() -> Vec<Finding> {
    let missing = MUST_EXIST
        .into_iter()
        .filter(|file| !command::root().join(file).is_file());
    missing
        .map(|file| Finding::new(file, 0, "does not exist"))
        .collect()
}

/// The rules for Rust alone.
fn rust(text: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.content.lines().count();
    if lines > FILE_LINES_MAX && !LONG_FILES.iter().any(|(file, _)| *file == text.path) {
        let what = format!(
            "{lines} lines, at most {FILE_LINES_MAX} (a table may be longer: LONG_FILES in tidy.rs)"
        );
        findings.push(Finding::new(&text.path, 0, what));
    }
    let code = source::blanked(&text.content);
    for function in source::functions(&code) {
        let is_exempt = LONG_FUNCTIONS
            .iter()
            .any(|(file, name, _)| *file == text.path && *name == function.name);
        if function.lines > FUNCTION_LINES_MAX && !is_exempt {
            let what = format!(
                "fn {} has {} lines, at most {FUNCTION_LINES_MAX}",
                function.name, function.lines
            );
            findings.push(Finding::new(&text.path, function.line, what));
        }
    }
    for (index, line) in code.lines().enumerate() {
        let banned = BANNED_MACROS
            .into_iter()
            .filter(|name| source::has_word(line, name));
        findings.extend(
            banned.map(|name| Finding::new(&text.path, index + 1, format!("{name} must not stay"))),
        );
    }
    findings
}

/// Paths that exist on the machine of whoever wrote them.
fn machine_paths(text: &Text) -> Vec<Finding> {
    if NAMES_MACHINE_DIRS
        .iter()
        .any(|(file, _)| *file == text.path)
    {
        return Vec::new();
    }
    let root = format!("{}/", command::root().display());
    let dirs = MACHINE_DIRS.into_iter().chain([root.as_str()]);
    let dirs: Vec<&str> = dirs.collect();
    let lines = text.content.lines().enumerate();
    let found = lines.filter_map(|(index, line)| {
        let dir = dirs.iter().find(|dir| source::starts_path(line, dir))?;
        Some(Finding::new(
            &text.path,
            index + 1,
            format!("a path of one machine: {dir}"),
        ))
    });
    found.collect()
}

/// Exceptions whose subject is gone.
fn stale_exceptions(texts: &[Text]) -> Vec<Finding> {
    let files = LONG_FILES
        .iter()
        .chain(NAMES_MACHINE_DIRS)
        .map(|(file, _)| *file);
    let files = files.chain(LONG_FUNCTIONS.iter().map(|(file, ..)| *file));
    let gone = files.filter(|file| !texts.iter().any(|text| text.path == *file));
    gone.map(|file| {
        Finding::new(
            "xtask/src/tidy.rs",
            0,
            format!("excepts {file}, which does not exist"),
        )
    })
    .collect()
}

/// Every text file of the project, sorted by path.
fn texts() -> Result<Vec<Text>> {
    let root = command::root();
    let mut texts = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && name != ".git" {
                    dirs.push(path);
                }
            // What is not UTF-8 is no text.
            } else if name != ".git"
                && let Ok(content) = fs::read_to_string(&path)
            {
                texts.push(Text {
                    path: relative(&root, &path),
                    content,
                });
            }
        }
    }
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(texts)
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path
        .strip_prefix(root)
        .map_or_else(|_| path.to_path_buf(), Path::to_path_buf);
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, content: &str) -> Text {
        Text {
            path: path.to_owned(),
            content: content.to_owned(),
        }
    }

    fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn sizes_have_limits() {
        let at_the_limit = "\n".repeat(FILE_LINES_MAX);
        assert_eq!(rust(&text("a.rs", &at_the_limit)), []);
        let over = rust(&text("a.rs", &format!("{at_the_limit}\n")));
        assert!(
            shown(&over)[0].starts_with("a.rs: 401 lines, at most 400"),
            "{over:?}"
        );

        let body = "\n".repeat(FUNCTION_LINES_MAX - 1);
        assert_eq!(rust(&text("a.rs", &format!("fn f() {{{body}}}"))), []);
        let over = rust(&text("a.rs", &format!("// first\nfn f() {{{body}\n}}")));
        assert_eq!(shown(&over), ["a.rs:2: fn f has 71 lines, at most 70"]);
    }

    #[test]
    fn macros_are_found_in_code_alone() {
        let clean = "// todo!\nlet s = \"dbg!(1)\"; my_todo!();\n";
        assert_eq!(rust(&text("a.rs", clean)), []);
        assert_eq!(
            shown(&rust(&text("a.rs", "\n  todo!()"))),
            ["a.rs:2: todo! must not stay"]
        );
    }

    #[test]
    fn machine_paths_are_found() {
        let found = machine_paths(&text("a.md", "see\n`/home/me/x` or https://a.org/home/me"));
        assert_eq!(shown(&found), ["a.md:2: a path of one machine: /home/"]);
        assert_eq!(
            machine_paths(&text(
                "a.md",
                "https://a.org/home/me, nursing/home/x, ~/.cargo"
            )),
            []
        );
    }
}
