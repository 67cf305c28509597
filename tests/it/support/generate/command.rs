//! A command as its arguments, and short ways to write one down.

/// Name and arguments.
pub type Command = Vec<Vec<u8>>;

/// What can stand as an argument.
pub(super) trait Arg {
    /// Its bytes.
    fn into_arg(self) -> Vec<u8>;
}

impl Arg for Vec<u8> {
    fn into_arg(self) -> Vec<u8> {
        self
    }
}

impl Arg for &Vec<u8> {
    fn into_arg(self) -> Vec<u8> {
        self.clone()
    }
}

impl Arg for &[u8] {
    fn into_arg(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Arg for String {
    fn into_arg(self) -> Vec<u8> {
        self.into_bytes()
    }
}

/// What prints as Redis reads it.
macro_rules! arg_by_display {
    ($($kind:ty),+) => {
        $(impl Arg for $kind {
            fn into_arg(self) -> Vec<u8> {
                self.to_string().into_bytes()
            }
        })+
    };
}
arg_by_display!(&str, i64, u32, usize, f64);

/// `command!["SET", key, 5]`.
macro_rules! command {
    ($($arg:expr),+ $(,)?) => {
        vec![$($crate::support::generate::command::Arg::into_arg($arg)),+]
    };
}
pub(super) use command;
