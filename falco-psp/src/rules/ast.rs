//! The syntax tree of a condition.
//!
//! The grammar is Falco's (libs `userspace/libsinsp/filter/parser.h`); `parse` reads it
//! and `print` writes it.

/// A condition or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// True when one of them is; two or more.
    Or(Vec<Expr>),
    /// True when all of them are; two or more.
    And(Vec<Expr>),
    /// True when it is not.
    Not(Box<Expr>),
    /// What a macro stands for.
    Macro(Name),
    /// A test of one field.
    Check(Box<Check>),
}

impl Expr {
    /// The levels of the tree; a check has one.
    pub fn depth(&self) -> usize {
        match self {
            Self::Or(parts) | Self::And(parts) => {
                1 + parts.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(inner) => 1 + inner.depth(),
            Self::Macro(_) => 1,
            Self::Check(check) => 1 + check.depth(),
        }
    }
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The field, or what is made of it.
    pub left: Operand,
    /// What is asked of its value.
    pub test: Test,
}

impl Check {
    fn depth(&self) -> usize {
        let right = match &self.test {
            Test::Compare(_, Right::Operand(right)) | Test::List(_, List::Operand(right)) => {
                right.depth()
            }
            _ => 0,
        };
        self.left.depth().max(right)
    }
}

/// What has values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A field. On the right of an operator it is written `val(field)`.
    Field(FieldName),
    /// What a function makes of others.
    Call(Call),
}

impl Operand {
    /// Where it stands.
    pub fn at(&self) -> At {
        match self {
            Self::Field(field) => field.at,
            Self::Call(call) => call.at,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Field(_) => 0,
            Self::Call(call) => {
                let operands = call.arguments.iter().filter_map(|argument| match argument {
                    Argument::Operand(operand) => Some(operand.depth()),
                    Argument::Text(_) => None,
                });
                1 + operands.max().unwrap_or(0)
            }
        }
    }
}

/// A function and what it is of: `tolower(proc.name)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// What it is of; one or more.
    pub arguments: Vec<Argument>,
    /// What stands in brackets after it: an option of which `getopt` gives the value.
    pub selector: Option<String>,
    /// Where it stands.
    pub at: At,
}

/// What a function is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Values of the event.
    Operand(Operand),
    /// A text in quotes.
    Text(Literal),
}

/// A field as a condition names it: `evt.arg[dev]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// The name: words joined by dots.
    pub name: String,
    /// What stands in brackets after the name.
    pub argument: Option<String>,
    /// Where it stands.
    pub at: At,
}

/// What is asked of a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// There is one.
    Exists,
    /// It compares so with a value.
    Compare(Comparison, Right),
    /// It compares so with as many of a list of values.
    Several(Comparison, Quantifier, Vec<Literal>),
    /// It compares so with a list of values.
    List(ListOperator, List),
}

/// The right side of an operator for one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// A value.
    Literal(Literal),
    /// The value that the event has there.
    Operand(Operand),
}

/// The right side of an operator for many values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// These values.
    Literals(Vec<Literal>),
    /// The values that the event has there.
    Operand(Operand),
}

impl Test {
    /// The operator's word or sign.
    pub fn operator(&self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Compare(operator, _) | Self::Several(operator, ..) => operator.word(),
            Self::List(operator, _) => operator.word(),
        }
    }
}

/// A value in a condition, without its quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub at: At,
}

/// A macro's name in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub at: At,
}

macro_rules! operators {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $(#[doc = concat!("`", $word, "`")] $variant),*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word or sign in a condition.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

operators! {
    /// An operator with one value on its right. `==` is read as `=`.
    Comparison {
        Equal = "=",
        NotEqual = "!=",
        Less = "<",
        LessOrEqual = "<=",
        Greater = ">",
        GreaterOrEqual = ">=",
        Contains = "contains",
        ContainsIgnoreCase = "icontains",
        ContainsBytes = "bcontains",
        StartsWith = "startswith",
        StartsWithBytes = "bstartswith",
        EndsWith = "endswith",
        Glob = "glob",
        GlobIgnoreCase = "iglob",
        Regex = "regex",
    }
}

operators! {
    /// With how many of a list of values a comparison has to hold.
    Quantifier {
        OneOf = "oneof",
        AnyOf = "anyof",
        AllOf = "allof",
    }
}

operators! {
    /// What makes new values of values.
    Function {
        ToLower = "tolower",
        ToUpper = "toupper",
        Base64 = "b64",
        Basename = "basename",
        Length = "len",
        Join = "join",
        Concat = "concat",
        GetOpt = "getopt",
    }
}

impl Comparison {
    /// Whether it is one of `<`, `<=`, `>`, `>=`, which take a number.
    pub fn is_order(self) -> bool {
        matches!(
            self,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }
}

operators! {
    /// An operator with a list of values on its right.
    ListOperator {
        In = "in",
        Intersects = "intersects",
        PathMatch = "pmatch",
    }
}

/// Where a part of a tree stands: a byte offset in one of the texts that a rules file is made of.
///
/// Two trees that say the same are equal, wherever they stand; so all places are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The number of the text.
    pub text: u32,
    /// The byte offset in it.
    pub offset: u32,
}

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}
