//! What no compiler checks: the longest function, the largest file, stray marks.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests are shells: this one reads the project")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a function at most, signature and braces included.
const LONGEST_FUNCTION: usize = 70;
/// Lines of a file at most, without its test module.
const LARGEST_FILE: usize = 1_000;
/// Folders that hold nothing written by hand.
const SKIPPED: &[&str] = &["target", "node_modules", "dist", ".git", "test-results"];
/// Endings of hand-written text beside code.
const TEXT: &[&str] = &["md", "toml", "txt", "html"];
/// Endings of hand-written code.
const CODE: &[&str] = &["rs", "ts", "svelte", "js", "mjs", "css", "sh", "py", "proto"];

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    what: String,
}

fn workspace_root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().expect("the workspace exists")
}

fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("list a folder of the project") {
        let path = entry.expect("read a folder's entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            files(&path, endings, found);
        } else if path
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| endings.contains(&ending))
        {
            found.push(path);
        }
    }
}

/// The file without its `#[cfg(test)] mod tests { … }`, which comes last by convention.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// Functions of formatted Rust: from the line with `fn` to the closing brace at the same indentation.
fn long_functions(text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        // A declaration without a body ends with a semicolon before anything opens.
        let signature_end = lines[start..]
            .iter()
            .find(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        if signature_end.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indentation));
        let length = lines[start..].iter().position(|line| *line == closing).map_or(1, |end| end + 1);
        // A flat match may be longer, if it says so where clippy holds it to its word.
        let says_why =
            lines[..start].iter().rev().take(4).any(|line| line.contains("clippy::too_many_lines"));
        if LONGEST_FUNCTION < length && !says_why {
            found.push(Finding { line: start + 1, what: format!("{name} has {length} lines") });
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe"];
    let word = words.find(|word| !modifiers.contains(word))?;
    (word == "fn").then(|| words.next().unwrap_or_default())
}

fn stray_marks(text: &str) -> Vec<Finding> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let word = |line: &str, mark: &str| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == mark);
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for mark in marks {
            let has_reference = line.contains("docs/adr/") || line.contains("issue #");
            if word(line, mark) && !has_reference {
                found.push(Finding { line: number + 1, what: format!("{mark} without an issue or ADR") });
            }
        }
    }
    found
}

#[test]
fn functions_files_and_marks_are_tidy() {
    let root = workspace_root();
    let mut paths = Vec::new();
    files(&root, CODE, &mut paths);
    assert!(30 < paths.len(), "the search lost its way: {} files", paths.len());
    let mut problems = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("read a source file");
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let mut found = stray_marks(&text);
        if name.ends_with(".rs") {
            found.extend(long_functions(&text));
        }
        let length = without_tests(&text).len();
        if LARGEST_FILE < length {
            found.push(Finding { line: length, what: format!("the file has {length} lines without tests") });
        }
        problems
            .extend(found.into_iter().map(|finding| format!("{name}:{}: {}", finding.line, finding.what)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What a merge leaves for a person to decide.
fn undecided(text: &str) -> Vec<Finding> {
    let is_mark = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    let marked = text.lines().enumerate().filter(|(_, line)| is_mark(line));
    marked.map(|(number, line)| Finding { line: number + 1, what: line.to_owned() }).collect()
}

#[test]
fn no_merge_is_left_undecided() {
    let root = workspace_root();
    let mut paths = Vec::new();
    files(&root, CODE, &mut paths);
    files(&root, TEXT, &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).expect("read a file of the project");
        assert_eq!(undecided(&text), [], "{}", path.display());
    }
    assert_eq!(undecided("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\n").len(), 2);
}

/// Planted defects in a source file that stand outside their `--cfg bug="name"`, and the names of those that stand right.
fn planted(text: &str) -> (Vec<String>, Vec<Finding>) {
    let (mut names, mut loose) = (Vec::new(), Vec::new());
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let call = concat!("planted", "::is_on(\"");
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.split(call).nth(1).and_then(|rest| rest.split('"').next()) else { continue };
        let gate = format!("#[cfg(bug = \"{name}\")]");
        // The statement that the attribute is for begins on the line below it and may go on for a few.
        let is_gated = lines[at.saturating_sub(4)..at].contains(&gate.as_str());
        if is_gated {
            names.push(name.to_owned());
        } else {
            loose.push(Finding { line: at + 1, what: format!("{name} is planted into every build") });
        }
    }
    (names, loose)
}

#[test]
fn planted_defects_are_in_no_usual_build_and_all_listed() {
    let root = workspace_root();
    let mut paths = Vec::new();
    files(&root, CODE, &mut paths);
    let (mut found, mut problems) = (BTreeSet::new(), Vec::new());
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
        let (names, loose) = planted(&fs::read_to_string(&path).expect("read a source file"));
        found.extend(names);
        problems.extend(loose.into_iter().map(|finding| format!("{}: {finding:?}", path.display())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let list = fs::read_to_string(root.join("simulation/bugs.txt")).expect("read the list of defects");
    let listed = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    assert_eq!(found, listed.map(str::to_owned).collect());
    assert!(20 <= found.len(), "{found:?}");
}

#[test]
fn a_defect_in_every_build_is_found() {
    let call = concat!("if log_format::planted", "::is_on(\"a\") {");
    assert_eq!(planted(&format!("#[cfg(bug = \"a\")]\n{call}\n")), (vec!["a".to_owned()], Vec::new()));
    assert_eq!(planted(&format!("#[cfg(bug = \"b\")]\n{call}\n")).1.len(), 1);
}

#[test]
fn a_long_function_is_found() {
    let body = "    let x = 1;\n".repeat(LONGEST_FUNCTION - 2);
    assert_eq!(long_functions(&format!("pub fn short() {{\n{body}}}\n")), []);
    let long = long_functions(&format!("pub async fn long() {{\n{body}    let y = 2;\n}}\n"));
    assert_eq!(long_functions(&format!("trait A {{\n    fn b(&self);\n{body}}}\n")), []);
    assert_eq!(long, [Finding { line: 1, what: format!("long() has {} lines", LONGEST_FUNCTION + 1) }]);
}

#[test]
fn a_large_file_is_counted_without_its_tests() {
    let code = "const A: u8 = 1;\n".repeat(10);
    let text = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");
    assert_eq!(without_tests(&text).len(), 10);
}

#[test]
fn a_stray_mark_is_found() {
    let mark = concat!("TO", "DO");
    assert_eq!(stray_marks(&format!("// {mark}: later\n")).len(), 1);
    assert_eq!(stray_marks(&format!("// {mark} (docs/adr/0007-x.md): later\n")), []);
    assert_eq!(stray_marks("// a method\n"), []);
}
