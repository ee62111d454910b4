//! The language that executions are searched with: the condition of an SQL `WHERE`, and
//! `GROUP BY` and `ORDER BY` behind it. Text -> a filter whose names and types are checked.

mod duration;
mod values;

use base::condition::{self, Operand, Tree};
use base::{AttributeType, CustomAttributes, builtin_attribute};

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

/// The query is not one. The text is for the caller.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid query: {0}")]
pub struct QueryError(String);

impl QueryError {
    fn unsupported(what: impl std::fmt::Display) -> Self {
        Self(format!("operation is not supported: {what}"))
    }

    fn invalid(what: impl std::fmt::Display) -> Self {
        Self(format!("invalid expression: {what}"))
    }
}

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
        let parsed =
            condition::parse(text).map_err(|malformed| QueryError(format!("malformed SQL query: {malformed}")))?;
        if parsed.has_limit {
            return Err(QueryError::unsupported("'LIMIT' clause"));
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
                return Err(QueryError::unsupported("unable to sort by search attribute type Text"));
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
    fn condition(&mut self, tree: &Tree) -> Result<Filter, QueryError> {
        match tree {
            Tree::And(left, right) => {
                Ok(Filter::And(Box::new(self.condition(left)?), Box::new(self.condition(right)?)))
            }
            Tree::Or(left, right) => Ok(Filter::Or(Box::new(self.condition(left)?), Box::new(self.condition(right)?))),
            Tree::Not(inner) => Ok(Filter::Not(Box::new(self.condition(inner)?))),
            Tree::Compare { left, operator, right } => self.comparison(left, operator, right),
            Tree::Between { left, negated, from, to } => {
                let column = self.column(left)?;
                let ranges =
                    [AttributeType::Datetime, AttributeType::Double, AttributeType::Int, AttributeType::Keyword];
                if !ranges.contains(&column.kind) {
                    return Err(QueryError::invalid(format_args!(
                        "cannot do range condition on search attribute '{}' of type {}",
                        column.alias,
                        column.kind.name()
                    )));
                }
                let (from, to) = (values::single(from, &column)?, values::single(to, &column)?);
                Ok(Filter::Between { field: column.field, negated: *negated, from, to })
            }
            Tree::IsNull { left, negated } => Ok(Filter::IsNull { field: self.column(left)?.field, negated: *negated }),
            Tree::IsOther { left } => {
                self.column(left)?;
                Err(QueryError::invalid("'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"))
            }
            Tree::Alone(Operand::Column(_)) => Err(QueryError::invalid("incomplete expression")),
            Tree::Alone(Operand::Function(_)) => Err(QueryError::unsupported("function expression")),
            Tree::Alone(_) => Err(QueryError::unsupported("expression without a column")),
        }
    }

    fn comparison(&mut self, left: &Operand, operator: &'static str, right: &Operand) -> Result<Filter, QueryError> {
        let column = self.column(left)?;
        if let Operand::List(operands) = right {
            let values: Vec<Value> =
                operands.iter().map(|operand| values::single(operand, &column)).collect::<Result<_, _>>()?;
            check_operator(&column, operator)?;
            return Ok(Filter::In { field: column.field, negated: operator == "not in", values });
        }
        let value = values::single(right, &column)?;
        check_operator(&column, operator)?;
        let field = column.field;
        if matches!(operator, "starts_with" | "not starts_with") {
            let Value::Text(prefix) = value else {
                return Err(QueryError::invalid(format_args!(
                    "right-hand side of \"{operator}\" operator must be a literal string"
                )));
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

    fn group_by(&mut self, operands: &[Operand]) -> Result<Option<Field>, QueryError> {
        let [operand] = operands else {
            return match operands {
                [] => Ok(None),
                _ => Err(QueryError::unsupported("'GROUP BY' clause supports only a single field")),
            };
        };
        let column = self.column(operand)?;
        let name = column.field.name();
        let groups = matches!(name, "ExecutionStatus" | NAMESPACE_DIVISION) || name.starts_with(LOW_CARDINALITY_PREFIX);
        if !groups {
            return Err(QueryError::unsupported(format_args!(
                "'GROUP BY' clause is not supported for search attribute {}",
                column.alias
            )));
        }
        Ok(Some(column.field))
    }

    fn column(&mut self, operand: &Operand) -> Result<Column, QueryError> {
        let Operand::Column(alias) = operand else {
            return Err(QueryError::invalid(format_args!("must be a column name but was {}", shown_kind(operand))));
        };
        let column = self.resolve(alias)?;
        self.mentions_division |= column.field.name() == NAMESPACE_DIVISION;
        Ok(column)
    }

    /// A custom name first, then what the server knows, then the same with or without the
    /// prefix of reserved names.
    fn resolve(&self, alias: &str) -> Result<Column, QueryError> {
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
        found.ok_or_else(|| QueryError(format!("invalid search attribute: {alias}")))
    }
}

/// As clients know it from errors.
fn shown_kind(operand: &Operand) -> &'static str {
    match operand {
        Operand::Column(_) => "*sqlparser.ColName",
        Operand::Text(_) | Operand::Number(_) => "*sqlparser.SQLVal",
        Operand::Signed { operand, .. } if matches!(**operand, Operand::Number(_)) => "*sqlparser.SQLVal",
        Operand::Signed { .. } => "*sqlparser.UnaryExpr",
        Operand::Bool(_) => "sqlparser.BoolVal",
        Operand::Null => "*sqlparser.NullVal",
        Operand::List(_) => "sqlparser.ValTuple",
        Operand::Function(_) => "*sqlparser.FuncExpr",
        Operand::Inner(_) => "*sqlparser.ParenExpr",
        Operand::Binary => "*sqlparser.BinaryExpr",
    }
}

fn check_operator(column: &Column, operator: &str) -> Result<(), QueryError> {
    let is_supported = match column.kind {
        AttributeType::Text => matches!(operator, "=" | "!="),
        AttributeType::KeywordList => matches!(operator, "=" | "!=" | "in" | "not in"),
        AttributeType::Keyword => !matches!(operator, "<=>" | "like" | "not like" | "regexp" | "not regexp"),
        _ => matches!(operator, "=" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in"),
    };
    if is_supported {
        return Ok(());
    }
    Err(QueryError::unsupported(format_args!(
        "operator '{}' not supported for {} type search attribute '{}'",
        operator.to_uppercase(),
        column.kind.name(),
        column.alias
    )))
}

#[cfg(test)]
mod tests;
