//! TOML whose tables and values know their lines, read as far as it can be read.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// A file's name and text, which turns places in the text into lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

/// Where in a text something is.
pub(crate) type Span = std::ops::Range<usize>;

impl<'a> Source<'a> {
    /// Reads the whole text; problems hold each syntax error.
    pub(crate) fn parse(self, problems: &mut Vec<Problem>) -> Spanned<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        problems.extend(errors.iter().map(|error| Problem {
            origin: self.name.to_owned(),
            line: Some(self.line(&error.span().unwrap_or(0..0))),
            field: String::new(),
            value: None,
            problem: format!("is not TOML: {}", error.message()),
        }));
        table
    }

    /// Makes something of the whole text; where there are problems they are the answer, in the order of their lines.
    pub(crate) fn read<T>(
        self,
        make: impl FnOnce(Self, &DeTable<'a>, &mut Vec<Problem>) -> T,
    ) -> Result<T, Problems> {
        let mut problems = Vec::new();
        let root = self.parse(&mut problems);
        let made = make(self, root.get_ref(), &mut problems);
        if problems.is_empty() {
            return Ok(made);
        }
        problems.sort_by_key(|problem| problem.line);
        Err(Problems(problems))
    }

    /// The line of what is at `span`, from 1.
    pub(crate) fn line(self, span: &Span) -> usize {
        1 + self.text.get(..span.start).unwrap_or(self.text).matches('\n').count()
    }

    /// What is written at `span`, on one line and not for too long.
    pub(crate) fn written(self, span: &Span) -> String {
        const MOST: usize = 80;
        let written = self.text.get(span.clone()).unwrap_or_default();
        let mut shown: String =
            written.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect();
        if written.chars().count() > MOST {
            shown.push('…');
        }
        shown
    }
}

/// What a value is, in words.
pub(crate) const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
