//! What a `Packages` index says, and which kernel of it is the one wanted.

use std::cmp::Ordering;

/// One package of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// Names alone: versions and alternatives do not matter here.
    pub(super) depends: Vec<String>,
    /// Below the archive's root.
    pub(super) file: String,
    pub(super) sha256: String,
    /// The archive's root; the index does not say it.
    pub(super) archive: String,
}

/// The kernel packages of an index; everything else in it is skipped.
pub(super) fn parse(index: &str, archive: &str) -> Vec<Package> {
    let stanzas = index.split("\n\n");
    let ours = stanzas.filter(|stanza| stanza.trim_start().starts_with("Package: linux-"));
    ours.filter_map(|stanza| package(stanza, archive)).collect()
}

fn package(stanza: &str, archive: &str) -> Option<Package> {
    let mut package = Package {
        archive: archive.to_owned(),
        ..Package::default()
    };
    for line in stanza.lines() {
        // A line that begins with a space goes on with a field that we do not read.
        let Some((field, value)) = line.split_once(": ") else {
            continue;
        };
        match field {
            "Package" => package.name = value.to_owned(),
            "Version" => package.version = value.to_owned(),
            "Filename" => package.file = value.to_owned(),
            "SHA256" => package.sha256 = value.to_owned(),
            "Depends" => {
                let name = |one: &str| one.split_whitespace().next().map(str::to_owned);
                package.depends = value.split(',').filter_map(name).collect();
            }
            _ => {}
        }
    }
    let complete = [
        &package.name,
        &package.version,
        &package.file,
        &package.sha256,
    ]
    .iter()
    .all(|field| !field.is_empty());
    complete.then_some(package)
}

/// What the cloud flavour's packages end with.
const FLAVOUR: &str = "-cloud-amd64";

/// The newest kernel of `series` that the packages hold as a whole: its release (`uname -r`) and its packages.
///
/// Up to 6.18 the image's package has all of it; later it is a name for one with the kernel and one with the
/// modules, and an archive may have lost one of them.
pub(super) fn newest(packages: &[Package], series: &str) -> Option<(String, Vec<Package>)> {
    let wanted = packages.iter().filter_map(|image| {
        let version = image
            .name
            .strip_prefix("linux-image-")?
            .strip_suffix(FLAVOUR)?;
        is_of(version, series).then_some((version, image))
    });
    let mut whole: Vec<(String, Vec<Package>)> = wanted
        .filter_map(|(version, image)| {
            Some((format!("{version}{FLAVOUR}"), parts(packages, image)?))
        })
        .collect();
    whole.sort_by(|(_, a), (_, b)| by_version(&a[0].version, &b[0].version));
    whole.pop()
}

/// The image and the kernel packages that it depends on; None if one is missing.
fn parts(packages: &[Package], image: &Package) -> Option<Vec<Package>> {
    let mut all = vec![image.clone()];
    let of_a_kernel = |name: &&String| {
        ["linux-binary-", "linux-modules-"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for name in image.depends.iter().filter(of_a_kernel) {
        let part = packages
            .iter()
            .find(|part| part.name == *name && part.version == image.version)?;
        all.push(part.clone());
    }
    Some(all)
}

/// Whether a release, `6.1.0-56` or `6.18.15+deb13`, is of a series, `6.1` or `6`. A name with fewer than three
/// numbers is that of a package without content.
pub(super) fn is_of(release: &str, series: &str) -> bool {
    let numbers = |text: &str| -> Vec<String> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let text = &text[..end.unwrap_or(text.len())];
        text.split('.').map(str::to_owned).collect()
    };
    let release = numbers(release);
    release.len() >= 3 && release.starts_with(&numbers(series))
}

/// Debian's order of versions (deb-version(7)): runs of digits as numbers, `~` before the end, letters before the
/// rest. Epochs do not occur here.
pub(super) fn by_version(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = split(b, |c| !c.is_ascii_digit());
        let (number_a, rest_a) = split(rest_a, |c| c.is_ascii_digit());
        let (number_b, rest_b) = split(rest_b, |c| c.is_ascii_digit());
        let value = |text: &str| text.parse::<u64>().unwrap_or(0);
        let order = by_text(text_a, text_b).then(value(number_a).cmp(&value(number_b)));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn split(text: &str, is_of: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_of(c)).unwrap_or(text.len()))
}

fn by_text(a: &str, b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 256,
    };
    let mut letters = (a.chars(), b.chars());
    loop {
        let (x, y) = (letters.0.next(), letters.1.next());
        let order = weight(x).cmp(&weight(y));
        if order != Ordering::Equal || (x.is_none() && y.is_none()) {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, version: &str, depends: &str) -> String {
        format!(
            "Package: {name}\nSource: linux\nVersion: {version}\nDescription: a kernel\n more: words\n\
             Depends: {depends}\nFilename: pool/{name}_{version}.deb\nSHA256: 00ff\n\n"
        )
    }

    fn index(all: &[(&str, &str, &str)]) -> Vec<Package> {
        let text: String = all
            .iter()
            .map(|(name, version, depends)| stanza(name, version, depends))
            .collect();
        parse(&text, "http://mirror/debian")
    }

    #[test]
    fn an_index_is_read() {
        let text = format!(
            "{}{}Package: linux-without-file\nVersion: 1\n",
            stanza("apt", "2.6", "libc6"),
            stanza(
                "linux-image-6.1.0-56-cloud-amd64",
                "6.1.192-2",
                "kmod, linux-base (>= 4.3~), a | b"
            )
        );
        let packages = parse(&text, "http://mirror/debian");
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].version, "6.1.192-2");
        assert_eq!(packages[0].depends, ["kmod", "linux-base", "a"]);
        assert_eq!(packages[0].archive, "http://mirror/debian");
        assert_eq!(packages[0].sha256, "00ff");
    }

    #[test]
    fn the_newest_of_a_series_is_taken() {
        let packages = index(&[
            ("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "kmod"),
            ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", "kmod"),
            ("linux-image-6.1.0-56-amd64", "6.1.193-1", "kmod"),
            (
                "linux-image-6.1.0-57-cloud-amd64-unsigned",
                "6.1.194-1",
                "kmod",
            ),
            (
                "linux-image-6.12-cloud-amd64",
                "6.12.117-1",
                "linux-image-6.12.117+deb12-cloud-amd64",
            ),
            (
                "linux-image-6.12.117+deb12-cloud-amd64",
                "6.12.117-1",
                "kmod",
            ),
            ("linux-image-cloud-amd64", "7.2.13-1", "kmod"),
        ]);
        let release = |series| newest(&packages, series).map(|(release, _)| release);
        assert_eq!(release("6.1").as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(release("6").as_deref(), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(release("7.2"), None);
    }

    #[test]
    fn a_kernel_in_parts_counts_only_with_all_of_them() {
        let image = |release: &str| {
            format!(
                "linux-binary-{release}-cloud-amd64 (= 1), linux-modules-{release}-cloud-amd64 (= 1)"
            )
        };
        let (whole, part) = (image("7.2.12+deb13"), image("7.2.13+deb13"));
        let packages = index(&[
            ("linux-image-7.2.13+deb13-cloud-amd64", "7.2.13-1", &part),
            ("linux-binary-7.2.13+deb13-cloud-amd64", "7.2.13-1", ""),
            ("linux-image-7.2.12+deb13-cloud-amd64", "7.2.12-1", &whole),
            ("linux-binary-7.2.12+deb13-cloud-amd64", "7.2.12-1", ""),
            ("linux-modules-7.2.12+deb13-cloud-amd64", "7.2.12-1", ""),
        ]);
        let (release, parts) = newest(&packages, "7.2").expect("one is whole");
        assert_eq!(release, "7.2.12+deb13-cloud-amd64");
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        for (smaller, larger) in [
            ("6.1.9-1", "6.1.192-2"),
            ("6.12.95-1~bpo12+1", "6.12.95-1"),
            ("6.12.90-1~bpo12+1", "6.12.90-2~bpo12+1"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
        ] {
            assert_eq!(
                by_version(smaller, larger),
                Ordering::Less,
                "{smaller} {larger}"
            );
            assert_eq!(by_version(larger, smaller), Ordering::Greater);
            assert_eq!(by_version(larger, larger), Ordering::Equal);
        }
    }
}
