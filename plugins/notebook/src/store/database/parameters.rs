//! The values of a statement's parameters.

use rusqlite::ToSql;

/// The values of parameters: `params![…]`, or an array of values of one type.
pub(in crate::store) trait Params {
    /// Calls `use_them` with the values.
    fn with<T>(self, use_them: impl FnOnce(&[&dyn ToSql]) -> T) -> T;
}

impl Params for &[&dyn ToSql] {
    fn with<T>(self, use_them: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
        use_them(self)
    }
}

impl Params for [&dyn ToSql; 0] {
    fn with<T>(self, use_them: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
        use_them(&[])
    }
}

macro_rules! arrays {
    ($($length:literal),*) => {$(
        impl<V: ToSql> Params for [V; $length] {
            fn with<T>(self, use_them: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
                use_them(&self.each_ref().map(|value| value as &dyn ToSql))
            }
        }
    )*};
}

arrays!(1, 2, 3, 4, 5, 6, 7, 8);
