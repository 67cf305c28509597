//! The look of the reports: light tables of at most [`WIDTH`] columns, blocks of labelled lines, and
//! colour where the caller asks for it.

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};

use crate::error::clean;

/// No table is wider than this, in columns of the terminal.
pub const WIDTH: u16 = 100;

/// The label of a labelled line is padded to this.
const LABEL_WIDTH: usize = 14;

/// A rule under the header and nothing else: numbers are easy to copy out of it.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text, which is broken into lines where the table would become too wide.
    Text,
    /// A number, which is never broken.
    Number,
}

/// What a cell or word says about the state of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Nothing to say.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Something to act upon.
    Bad,
}

/// Builds one table.
pub struct Builder {
    table: Table,
    columns: Vec<Align>,
}

impl Builder {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)], color: bool) -> Builder {
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        if color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(
            columns.iter().map(|(name, align)| aligned(*align, name).add_attribute(Attribute::Bold)),
        );
        let columns: Vec<Align> = columns.iter().map(|(_, align)| *align).collect();
        for (column, align) in table.column_iter_mut().zip(&columns) {
            // Between columns stands one more space, in place of the line that there is not.
            column.set_padding((0, 1));
            if *align == Align::Number {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        Builder { table, columns }
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[(T, Mood)]) {
        let cells = self.columns.iter().zip(cells).map(|(align, (text, mood))| {
            let cell = aligned(*align, text.as_ref());
            // Not in colour: the table's own colours ask NO_COLOR again, over which `--color` has the say.
            match mood {
                Mood::Plain | Mood::Good => cell,
                Mood::Doubtful | Mood::Bad => cell.add_attribute(Attribute::Bold),
            }
        });
        self.table.add_row(cells.collect::<Vec<_>>());
    }

    /// Adds a row without moods.
    pub fn plain<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells: Vec<(&str, Mood)> = cells.iter().map(|text| (text.as_ref(), Mood::Plain)).collect();
        self.row(&cells);
    }

    /// Writes the table.
    pub fn write(&self, out: &mut String) {
        for line in self.table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

fn aligned(align: Align, text: &str) -> Cell {
    let cell = Cell::new(clean(text));
    match align {
        Align::Text => cell,
        Align::Number => cell.set_alignment(CellAlignment::Right),
    }
}

/// Writes `label    text`.
pub fn labelled(out: &mut String, label: &str, text: &str) {
    out.push_str(&format!("{label:LABEL_WIDTH$}{}\n", clean(text)));
}

/// Writes `text`, broken between words where it becomes too wide, each line behind `indent`.
pub fn paragraph(out: &mut String, indent: &str, text: &str) {
    let text = clean(text);
    let mut width = 0;
    for word in text.split(' ') {
        let needed = word.chars().count() + 1;
        if width > 0 && width + needed > usize::from(WIDTH) {
            out.push('\n');
            width = 0;
        }
        out.push_str(if width == 0 { indent } else { " " });
        width += if width == 0 { indent.chars().count() + needed - 1 } else { needed };
        out.push_str(word);
    }
    out.push('\n');
}

/// Writes an empty line and a heading.
pub fn heading(out: &mut String, text: &str, mood: Mood, color: bool) {
    out.push('\n');
    out.push_str(&painted(text, mood, color));
    out.push('\n');
}

/// `text` in the colour of `mood`.
pub fn painted(text: &str, mood: Mood, color: bool) -> String {
    let code = match mood {
        Mood::Plain => return text.to_owned(),
        Mood::Good => 32,
        Mood::Doubtful => 33,
        Mood::Bad => 31,
    };
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
