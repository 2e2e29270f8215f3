//! The loss table, for people.

mod remarks;

use super::{
    record::{CauseCount, Record},
    text::{WIDTH_MAX, WIDTH_MIN, clean, columns, thousands, wrap},
    words::{closing, imbalance, title},
};

/// How many places of a cause are named.
const PLACES_SHOWN: usize = 3;
/// Between two columns.
const GAP: &str = "  ";

/// The table of a record in lines of at most `width` columns (kept between [`WIDTH_MIN`] and [`WIDTH_MAX`];
/// only the first line may be longer), with ANSI colours if `colour`. Texts of the record are cleaned of
/// whatever drives a terminal.
pub fn render(record: &Record, width: usize, colour: bool) -> String {
    let page = &mut Page {
        out: String::new(),
        width: width.clamp(WIDTH_MIN, WIDTH_MAX),
        colour,
    };
    balance(page, record);
    headline(page, record);
    if record.lost == 0 && record.lost_by_cause() == 0 {
        page.line("  nothing lost");
    } else {
        losses(page, record);
    }
    remarks::recoveries(page, record);
    remarks::crosscheck(page, record);
    remarks::rest(page, record);
    remarks::seen_by(page, record);
    page.out.clone()
}

/// A style of ANSI terminals.
#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Alarm,
}

/// What is printed so far.
struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Alarm => "1;31",
        };
        match self.colour && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A paragraph that hangs under its first word.
    fn hang(&mut self, indent: usize, text: &str, style: Option<Style>) {
        for (index, line) in wrap(text, self.width - indent - 2).iter().enumerate() {
            let indent = if index == 0 { indent } else { indent + 2 };
            let line = match style {
                Some(style) => self.paint(style, line),
                None => line.clone(),
            };
            self.line(&format!("{:indent$}{line}", ""));
        }
    }
}

/// A ledger that does not balance says so before anything else.
fn balance(page: &mut Page, record: &Record) {
    let Some(wrong) = imbalance(record) else {
        return;
    };
    let line = format!("c1m  {wrong}");
    let line = page.paint(Style::Alarm, &line);
    page.line(&line);
}

/// `c1m  500,000 attempted   499,312 standing   688 lost   0 unexplained      client, 127.0.0.1:8000, 12.4 s`
fn headline(page: &mut Page, record: &Record) {
    let lost = format!("{} lost", thousands(record.lost));
    let mut sums = vec![format!("{} attempted", thousands(record.attempted))];
    if record.before > 0 {
        sums.push(format!("{} of them before", thousands(record.before)));
    }
    sums.push(format!("{} standing", thousands(record.standing)));
    if record.closed > 0 {
        sums.push(format!("{} closed as asked", thousands(record.closed)));
    }
    sums.push(match record.lost {
        0 => lost,
        _ => page.paint(Style::Bold, &lost),
    });
    for (count, name) in [
        (record.evidence_lost, "evidence lost"),
        (record.not_observable, "not observable"),
    ] {
        if count > 0 {
            sums.push(format!("{} {name}", thousands(count)));
        }
    }
    sums.push(format!("{} unexplained", thousands(record.unexplained)));
    page.line(&format!(
        "c1m  {}      {}, {}, {:.1} s",
        sums.join("   "),
        clean(&record.role),
        clean(&record.target),
        record.elapsed_s,
    ));
}

/// One row in cells.
struct Cells {
    lost: String,
    cause: String,
    place: Vec<String>,
    remedy: String,
    evidence: String,
}

fn losses(page: &mut Page, record: &Record) {
    let mut rows: Vec<Cells> = record.causes.iter().map(cells).collect();
    rows.extend(closing(record).into_iter().map(|(count, cause)| Cells {
        lost: thousands(count),
        cause: cause.row().title.to_owned(),
        place: Vec::new(),
        remedy: cause.row().remedy.to_owned(),
        evidence: String::new(),
    }));
    let number = rows.iter().map(|row| row.lost.len()).max().unwrap_or(0);
    let widths = Widths::new(page.width, number, &rows);
    page.line("");
    let heads = ["LOST", "CAUSE", "WHERE", "WHAT TO DO"];
    let line = widths.line(heads);
    let line = page.paint(Style::Dim, line.trim_end());
    page.line(&line);
    for row in &rows {
        print_row(page, &widths, row);
    }
}

fn cells(row: &CauseCount) -> Cells {
    let alone = row.places.len() == 1;
    let mut place: Vec<String> = row
        .places
        .iter()
        .take(PLACES_SHOWN)
        .map(|place| match alone {
            true => clean(&place.name).into_owned(),
            false => format!("{} ({})", clean(&place.name), thousands(place.count)),
        })
        .collect();
    let beyond = row.places.len().saturating_sub(PLACES_SHOWN) as u64;
    let beyond = beyond.saturating_add(row.places_unlisted);
    if beyond > 0 {
        place.push(format!("and {} more", thousands(beyond)));
    }
    Cells {
        lost: thousands(row.count),
        cause: title(&row.slug),
        place,
        remedy: clean(&row.remedy).into_owned(),
        evidence: clean(&row.evidence).into_owned(),
    }
}

/// Widths of the columns, in columns.
struct Widths {
    lost: usize,
    cause: usize,
    place: usize,
    remedy: usize,
}

impl Widths {
    /// The remedy gets what the others leave; none of them takes more than its share.
    fn new(width: usize, number: usize, rows: &[Cells]) -> Self {
        let widest = |most: usize, cells: &mut dyn Iterator<Item = usize>| {
            cells.max().unwrap_or(0).clamp("WHERE".len(), most)
        };
        let lost = number.max("LOST".len()) + GAP.len();
        let left = width - lost - 3 * GAP.len();
        let places = rows.iter().flat_map(|row| &row.place);
        let place = widest(left / 5, &mut places.map(|place| columns(place)));
        let titles = rows.iter().map(|row| columns(&row.cause));
        let cause = widest(left * 2 / 5, &mut { titles });
        Self {
            lost,
            cause,
            place,
            remedy: left - cause - place,
        }
    }

    fn line(&self, [lost, cause, place, remedy]: [&str; 4]) -> String {
        let (l, c, p) = (self.lost, self.cause, self.place);
        format!("{lost:>l$}{GAP}{cause:<c$}{GAP}{place:<p$}{GAP}{remedy}")
    }
}

fn print_row(page: &mut Page, widths: &Widths, row: &Cells) {
    let cause = wrap(&row.cause, widths.cause);
    let places = row.place.iter();
    let place: Vec<_> = places.flat_map(|p| wrap(p, widths.place)).collect();
    let remedy = wrap(&row.remedy, widths.remedy);
    let height = cause.len().max(place.len()).max(remedy.len());
    let cell = |lines: &[String], index: usize| lines.get(index).cloned().unwrap_or_default();
    for index in 0..height {
        let lost = if index == 0 { row.lost.as_str() } else { "" };
        let line = widths.line([
            lost,
            &cell(&cause, index),
            &cell(&place, index),
            &cell(&remedy, index),
        ]);
        // Painted after padding: the codes take no columns.
        let painted = page.paint(Style::Bold, lost);
        let line = line.replacen(lost, &painted, usize::from(!lost.is_empty()));
        page.line(&line);
    }
    if !row.evidence.is_empty() {
        let text = format!("seen: {}", row.evidence);
        page.hang(widths.lost + GAP.len(), &text, Some(Style::Dim));
    }
}
