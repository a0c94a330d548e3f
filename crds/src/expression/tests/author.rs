//! Makes up expressions for the tests.

/// Expressions that are mostly of the right type, made of a stream of choices so that a failure
/// shrinks.
pub(super) struct Author<'c> {
    choices: std::slice::Iter<'c, u8>,
    locals: Vec<&'static str>,
}

impl<'c> Author<'c> {
    pub(super) fn new(choices: &'c [u8]) -> Self {
        Self {
            choices: choices.iter(),
            locals: Vec::new(),
        }
    }

    fn choose(&mut self, options: usize) -> usize {
        usize::from(*self.choices.next().unwrap_or(&0)) % options
    }

    fn one_of(&mut self, options: &[&str]) -> String {
        options[self.choose(options.len())].to_owned()
    }

    fn bool(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "true",
                "false",
                "claims.yes",
                "claims.no",
                "has(claims.x)",
                "1",
            ]);
        }
        let depth = depth - 1;
        match self.choose(14) {
            0 => format!("({} && {})", self.bool(depth), self.bool(depth)),
            1 => format!("({} || {})", self.bool(depth), self.bool(depth)),
            2 => format!("{} || {} && {}", self.bool(0), self.bool(0), self.bool(0)),
            3 => format!("!({})", self.bool(depth)),
            4 => {
                let order = self.one_of(&["<", "<=", ">", ">=", "==", "!="]);
                format!("({} {order} {})", self.int(depth), self.int(depth))
            }
            5 => {
                let order = self.one_of(&["<", "<=", ">", ">=", "==", "!="]);
                format!("({} {order} {})", self.text(depth), self.text(depth))
            }
            6 => format!("({} == {})", self.any(depth), self.any(depth)),
            7 => format!("({} in {})", self.any(depth), self.list(depth)),
            8 => format!("({} in {})", self.text(depth), self.map(depth)),
            9 => {
                let call = self.one_of(&["contains", "startsWith", "endsWith"]);
                format!("{}.{call}({})", self.text(depth), self.text(depth))
            }
            10 => {
                let call = self.one_of(&["all", "exists", "exists_one"]);
                let list = self.list(depth);
                self.with_local(|author, x| format!("{list}.{call}({x}, {})", author.bool(depth)))
            }
            11 => format!(
                "({} ? {} : {})",
                self.bool(depth),
                self.bool(0),
                self.bool(depth)
            ),
            12 => format!("({} == {})", self.double(depth), self.int(depth)),
            _ => format!("has({}.{})", self.map(depth), self.one_of(&["a", "b"])),
        }
    }

    fn int(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "0",
                "1",
                "-2",
                "0x1f",
                "claims.n",
                "9223372036854775807",
                "'a'",
            ]);
        }
        let depth = depth - 1;
        match self.choose(7) {
            0 => {
                let sign = self.one_of(&["+", "-", "*", "/", "%"]);
                format!("({} {sign} {})", self.int(depth), self.int(depth))
            }
            1 => format!("{} - {} * {}", self.int(0), self.int(0), self.int(0)),
            2 => format!("size({})", self.list(depth)),
            3 => format!("{}.size()", self.text(depth)),
            4 => format!(
                "int({})",
                self.one_of(&["'12'", "1.9", "claims.n", "claims.s", "-1.5"])
            ),
            5 => format!("-({})", self.int(depth)),
            _ => format!("{}[{}]", self.list(depth), self.int(0)),
        }
    }

    fn double(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&["0.5", "1e3", "-.25", "claims.d", "1.0"]);
        }
        let sign = self.one_of(&["+", "-", "*", "/", "%"]);
        format!(
            "({} {sign} {})",
            self.double(depth - 1),
            self.double(depth - 1)
        )
    }

    fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "'a'",
                "''",
                "claims.s",
                "\"b\\u00e9\"",
                "r'\\n'",
                "'''c'd'''",
                "'\\x41\\102'",
                "claims.none",
            ]);
        }
        let depth = depth - 1;
        match self.choose(7) {
            0 => format!("({} + {})", self.text(depth), self.text(depth)),
            1 => format!("string({})", self.int(depth)),
            2 => {
                let call = self.one_of(&["lowerAscii", "upperAscii", "trim"]);
                format!("{}.{call}()", self.text(depth))
            }
            3 => format!(
                "{}.replace({}, {})",
                self.text(depth),
                self.text(0),
                self.text(0)
            ),
            4 => format!("{}.join({})", self.list(depth), self.text(0)),
            5 => format!("{}[{}]", self.map(depth), self.text(0)),
            _ => format!("{}.a", self.map(depth)),
        }
    }

    fn list(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "[]",
                "claims.l",
                "['a', 1,]",
                "claims.words",
                "claims['l']",
                "claims.one",
            ]);
        }
        let depth = depth - 1;
        match self.choose(6) {
            0 => format!("({} + {})", self.list(depth), self.list(depth)),
            1 => format!("[{}, {}]", self.any(depth), self.any(depth)),
            2 => {
                let list = self.list(depth);
                self.with_local(|author, x| format!("{list}.map({x}, {})", author.any(depth)))
            }
            3 => {
                let list = self.list(depth);
                self.with_local(|author, x| {
                    format!(
                        "{list}.map({x}, {}, {})",
                        author.bool(depth),
                        author.any(depth)
                    )
                })
            }
            4 => {
                let list = self.list(depth);
                self.with_local(|author, x| format!("{list}.filter({x}, {})", author.bool(depth)))
            }
            _ => format!("{}.split({})", self.text(depth), self.text(0)),
        }
    }

    fn map(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "claims",
                "claims.m",
                "{}",
                "{'a': 1}",
                "{'a': 'x', 'b': null,}",
            ]);
        }
        format!(
            "{{'a': {}, {}: {}}}",
            self.any(depth - 1),
            self.text(0),
            self.any(depth - 1)
        )
    }

    pub(super) fn any(&mut self, depth: usize) -> String {
        match self.choose(8) {
            0 => self.bool(depth),
            1 => self.int(depth),
            2 => self.double(depth),
            3 => self.text(depth),
            4 => self.list(depth),
            5 => self.map(depth),
            6 => "null".to_owned(),
            _ => self
                .locals
                .last()
                .map_or("null".to_owned(), |x| (*x).to_owned()),
        }
    }

    fn with_local(&mut self, body: impl FnOnce(&mut Self, &str) -> String) -> String {
        let Some(local) = ["x", "y"].get(self.locals.len()) else {
            return "[]".to_owned();
        };
        self.locals.push(local);
        let text = body(self, local);
        self.locals.pop();
        text
    }
}
