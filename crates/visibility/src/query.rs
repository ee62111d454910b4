//! The language that executions are searched with: the condition of an SQL `WHERE`, and
//! `GROUP BY` and `ORDER BY` behind it. Text -> a filter whose names and types are checked.

mod duration;
mod fault;
mod values;

use base::condition::{self, Operand, Place, Term, Tree};
use base::{AttributeType, CustomAttributes, builtin_attribute};

use fault::Fault;

use crate::document::Field;
use crate::filter::{Comparison, Filter};
use crate::value::Value;

/// The attribute that hides what is no workflow of the user.
pub(crate) const NAMESPACE_DIVISION: &str = "TemporalNamespaceDivision";
const SCHEDULE_ID: &str = "ScheduleId";
const RESERVED_PREFIX: &str = "Temporal";
const LOW_CARDINALITY_PREFIX: &str = "TemporalLowCardinalityKeyword";

/// What was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    pub(crate) filter: Filter,
    pub(crate) group_by: Option<Field>,
    /// Each with whether it descends.
    pub(crate) order_by: Vec<(Field, bool)>,
}

/// The query is not one. The text is for the caller: a line in the words of the incumbent,
/// which tools know, and then the query with a mark where it went wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid query: {0}")]
pub struct QueryError(String);

/// An attribute as the query names it.
#[derive(Clone, Debug)]
struct Column {
    alias: String,
    field: Field,
    kind: AttributeType,
}

impl Query {
    /// Every workflow, in the order of lists.
    #[must_use]
    pub fn all() -> Self {
        Self { filter: hidden(), group_by: None, order_by: Vec::new() }
    }

    pub fn parse(text: &str, custom: &CustomAttributes) -> Result<Self, QueryError> {
        let text = text.trim();
        let parsed = condition::parse(text).map_err(|malformed| {
            QueryError(format!("malformed SQL query: {malformed}\n{}", malformed.marked(text))) //
        })?;
        Self::of(&parsed, custom).map_err(|fault| QueryError(fault.shown(text)))
    }

    fn of(parsed: &condition::Parsed, custom: &CustomAttributes) -> Result<Self, Fault> {
        if let Some(place) = &parsed.limit {
            let expected = "no LIMIT: the size of a page is asked for beside the query";
            return Err(Fault::unsupported("'LIMIT' clause").at(place).expected(expected));
        }
        let mut converter = Converter { custom, mentions_division: false };
        let mut filter = match &parsed.condition {
            Some(tree) => converter.condition(tree)?,
            None => Filter::All,
        };
        let group_by = converter.group_by(&parsed.group_by)?;
        let mut order_by = Vec::new();
        for (operand, descends) in &parsed.order_by {
            let column = converter.column(operand)?;
            if column.kind == AttributeType::Text {
                let fault = Fault::unsupported("unable to sort by search attribute type Text");
                return Err(fault.at(&operand.place).expected("a search attribute of another type"));
            }
            order_by.push((column.field, *descends));
        }
        if !converter.mentions_division {
            filter = Filter::And(Box::new(hidden()), Box::new(filter));
        }
        Ok(Self { filter, group_by, order_by })
    }
}

/// What a query that does not ask for divisions must not see.
fn hidden() -> Filter {
    Filter::IsNull { field: Field::Attribute(NAMESPACE_DIVISION.to_owned(), AttributeType::Keyword), negated: false }
}

struct Converter<'a> {
    custom: &'a CustomAttributes,
    mentions_division: bool,
}

impl Converter<'_> {
    fn condition(&mut self, tree: &Tree) -> Result<Filter, Fault> {
        match tree {
            Tree::And(left, right) => {
                Ok(Filter::And(Box::new(self.condition(left)?), Box::new(self.condition(right)?)))
            }
            Tree::Or(left, right) => Ok(Filter::Or(Box::new(self.condition(left)?), Box::new(self.condition(right)?))),
            Tree::Not(inner) => Ok(Filter::Not(Box::new(self.condition(inner)?))),
            Tree::Compare { left, operator, operator_place, right } => {
                self.comparison(left, operator, operator_place, right)
            }
            Tree::Between { left, negated, from, to } => self.between(left, *negated, from, to),
            Tree::IsNull { left, negated } => Ok(Filter::IsNull { field: self.column(left)?.field, negated: *negated }),
            Tree::IsOther { left } => {
                self.column(left)?;
                let fault = Fault::invalid("'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'");
                Err(fault.at(&left.place).expected("IS NULL, IS NOT NULL or a comparison with ="))
            }
            Tree::Alone(operand) => Err(match &operand.term {
                Term::Column(_) => Fault::invalid("incomplete expression"),
                Term::Function(_) => Fault::unsupported("function expression"),
                _ => Fault::unsupported("expression without a column"),
            }
            .at(&operand.place)
            .expected("a comparison of a search attribute with a value, such as WorkflowType = 'Order'")),
        }
    }

    fn between(&mut self, left: &Operand, negated: bool, from: &Operand, to: &Operand) -> Result<Filter, Fault> {
        let column = self.column(left)?;
        let ranges = [AttributeType::Datetime, AttributeType::Double, AttributeType::Int, AttributeType::Keyword];
        if !ranges.contains(&column.kind) {
            let fault = Fault::invalid(format_args!(
                "cannot do range condition on search attribute '{}' of type {}",
                column.alias,
                column.kind.name()
            ));
            return Err(fault.at(&left.place).expected("a search attribute of type Datetime, Double, Int or Keyword"));
        }
        let (from, to) = (values::single(from, &column)?, values::single(to, &column)?);
        Ok(Filter::Between { field: column.field, negated, from, to })
    }

    fn comparison(
        &mut self,
        left: &Operand,
        operator: &'static str,
        operator_place: &Place,
        right: &Operand,
    ) -> Result<Filter, Fault> {
        let column = self.column(left)?;
        let check = || check_operator(&column, operator).map_err(|fault| fault.at(operator_place));
        if let Term::List(operands) = &right.term {
            let values: Vec<Value> =
                operands.iter().map(|operand| values::single(operand, &column)).collect::<Result<_, _>>()?;
            check()?;
            return Ok(Filter::In { field: column.field, negated: operator == "not in", values });
        }
        let value = values::single(right, &column)?;
        check()?;
        let field = column.field;
        if matches!(operator, "starts_with" | "not starts_with") {
            let Value::Text(prefix) = value else {
                let fault =
                    Fault::invalid(format_args!("right-hand side of \"{operator}\" operator must be a literal string"));
                return Err(fault.at(&right.place).expected("a text in quotes"));
            };
            return Ok(Filter::StartsWith { field, negated: operator == "not starts_with", prefix });
        }
        let comparison = match operator {
            "=" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            _ => Comparison::GreaterOrEqual,
        };
        Ok(Filter::Compare { field, comparison, value })
    }

    fn group_by(&mut self, operands: &[Operand]) -> Result<Option<Field>, Fault> {
        let expected = "one of ExecutionStatus and TemporalNamespaceDivision";
        let [operand] = operands else {
            return match operands {
                [_, second, ..] => {
                    let fault = Fault::unsupported("'GROUP BY' clause supports only a single field");
                    Err(fault.at(&second.place).expected(expected))
                }
                _ => Ok(None),
            };
        };
        let column = self.column(operand)?;
        let name = column.field.name();
        let groups = matches!(name, "ExecutionStatus" | NAMESPACE_DIVISION) || name.starts_with(LOW_CARDINALITY_PREFIX);
        if !groups {
            let fault = Fault::unsupported(format_args!(
                "'GROUP BY' clause is not supported for search attribute {}",
                column.alias
            ));
            return Err(fault.at(&operand.place).expected(expected));
        }
        Ok(Some(column.field))
    }

    fn column(&mut self, operand: &Operand) -> Result<Column, Fault> {
        let Term::Column(alias) = &operand.term else {
            let fault = Fault::invalid(format_args!("must be a column name but was {}", shown_kind(&operand.term)));
            return Err(fault.at(&operand.place).expected("the name of a search attribute, without quotes"));
        };
        let column = self.resolve(alias).map_err(|fault| fault.at(&operand.place))?;
        self.mentions_division |= column.field.name() == NAMESPACE_DIVISION;
        Ok(column)
    }

    /// A custom name first, then what the server knows, then the same with or without the
    /// prefix of reserved names.
    fn resolve(&self, alias: &str) -> Result<Column, Fault> {
        let column = |name: &str, kind| Column { alias: alias.to_owned(), field: Field::named(name, kind), kind };
        if let Some(kind) = self.custom.get(alias) {
            return Ok(Column {
                alias: alias.to_owned(),
                field: Field::Attribute(alias.to_owned(), *kind),
                kind: *kind,
            });
        }
        let bare = alias.strip_prefix(RESERVED_PREFIX);
        let other = if bare.unwrap_or(alias) == SCHEDULE_ID {
            "WorkflowId".to_owned()
        } else {
            bare.map_or_else(|| format!("{RESERVED_PREFIX}{alias}"), str::to_owned)
        };
        let names = [alias, other.as_str()];
        let found = names.into_iter().find_map(|name| builtin_attribute(name).map(|(kind, _)| column(name, kind)));
        found.ok_or_else(|| Fault::unknown(alias, self.custom))
    }
}

/// As clients know it from errors.
fn shown_kind(term: &Term) -> &'static str {
    match term {
        Term::Column(_) => "*sqlparser.ColName",
        Term::Text(_) | Term::Number(_) => "*sqlparser.SQLVal",
        Term::Signed { operand, .. } if matches!(operand.term, Term::Number(_)) => "*sqlparser.SQLVal",
        Term::Signed { .. } => "*sqlparser.UnaryExpr",
        Term::Bool(_) => "sqlparser.BoolVal",
        Term::Null => "*sqlparser.NullVal",
        Term::List(_) => "sqlparser.ValTuple",
        Term::Function(_) => "*sqlparser.FuncExpr",
        Term::Inner(_) => "*sqlparser.ParenExpr",
        Term::Binary => "*sqlparser.BinaryExpr",
    }
}

fn check_operator(column: &Column, operator: &str) -> Result<(), Fault> {
    const KEYWORD: &[&str] = &["=", "!=", "<", "<=", ">", ">=", "in", "not in", "starts_with", "not starts_with"];
    let supported: &[&str] = match column.kind {
        AttributeType::Text => &["=", "!="],
        AttributeType::KeywordList => &["=", "!=", "in", "not in"],
        AttributeType::Keyword => KEYWORD,
        _ => &KEYWORD[..8],
    };
    if supported.contains(&operator) {
        return Ok(());
    }
    let fault = Fault::unsupported(format_args!(
        "operator '{}' not supported for {} type search attribute '{}'",
        operator.to_uppercase(),
        column.kind.name(),
        column.alias
    ));
    Err(fault.expected(format_args!("one of {}", supported.join(", ").to_uppercase())))
}

#[cfg(test)]
mod tests;
