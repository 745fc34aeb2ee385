//! Converts values of `rusqlite` to and from those of PostgreSQL.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};
use tokio_postgres::Row;
use tokio_postgres::types::{self, IsNull, Type, to_sql_checked};

use super::Result;
use super::postgres::failed;

type BoxError = Box<dyn Error + Sync + Send>;

/// The value of a parameter. The server has inferred its type.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) ToSqlOutput<'a>);

impl types::ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let value = match &self.0 {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => value.into(),
            _ => return Err("this kind of value has no counterpart in PostgreSQL".into()),
        };
        match (value, kind) {
            (ValueRef::Null, _) => return Ok(IsNull::Yes),
            (ValueRef::Integer(number), &Type::INT8) => out.put_i64(number),
            (ValueRef::Integer(number), &Type::INT4) => out.put_i32(number.try_into()?),
            (ValueRef::Integer(number), &Type::INT2) => out.put_i16(number.try_into()?),
            (ValueRef::Integer(number), &Type::BOOL) => out.put_u8(u8::from(number != 0)),
            (ValueRef::Real(number), &Type::FLOAT8) => out.put_f64(number),
            (ValueRef::Text(text), &(Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN)) => {
                put_text(text, out)
            }
            (ValueRef::Blob(bytes), &Type::BYTEA) => out.put_slice(bytes),
            (value, kind) => {
                return Err(format!("a parameter is {:?} but must be {kind}", value.data_type()).into());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL's texts cannot contain U+0000. It is replaced with U+2400, the symbol for it.
fn put_text(text: &[u8], out: &mut BytesMut) {
    for (at, part) in text.split(|byte| *byte == 0).enumerate() {
        if at > 0 {
            out.put_slice("\u{2400}".as_bytes());
        }
        out.put_slice(part);
    }
}

/// The value of a column.
struct Column<'a>(ValueRef<'a>);

impl<'a> types::FromSql<'a> for Column<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Column<'a>, BoxError> {
        Ok(Column(match *kind {
            Type::INT8 => ValueRef::Integer(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => ValueRef::Integer(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT2 => ValueRef::Integer(i16::from_be_bytes(raw.try_into()?).into()),
            Type::BOOL => ValueRef::Integer(i64::from(raw != [0])),
            Type::FLOAT8 => ValueRef::Real(f64::from_be_bytes(raw.try_into()?)),
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN => ValueRef::Text(raw),
            Type::BYTEA => ValueRef::Blob(raw),
            ref kind => return Err(format!("a column of the type {kind} cannot be read").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Column<'a>, BoxError> {
        Ok(Column(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The value of a column, counted from 0.
pub(super) fn get<T: FromSql>(row: &Row, column: usize) -> Result<T> {
    let Column(value) = row.try_get(column).map_err(|error| failed(&error))?;
    T::column_result(value).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Value::from(value).data_type(), Box::new(error))
    })
}
