//! A recursive descent evaluator for arithmetic such as `2 * (x + 1)`.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Symbol(char),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    BadNumber(usize),
    BadCharacter(usize, char),
    UnknownName(String),
    Expected(&'static str),
}

/// Consume characters for as long as `accept` holds and return them.
fn take_while(
    chars: &mut Peekable<CharIndices<'_>>,
    accept: impl Fn(char) -> bool,
) -> String {
    let mut text = String::new();
    while let Some(&(_, c)) = chars.peek() {
        if !accept(c) {
            break;
        }
        text.push(c);
        chars.next();
    }
    text
}

fn tokenize(source: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut chars = source.char_indices().peekable();
    while let Some(&(at, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
        } else if c.is_ascii_digit() || c == '.' {
            let text = take_while(&mut chars, |c| c.is_ascii_digit() || c == '.');
            let value = text.parse().map_err(|_| Error::BadNumber(at))?;
            tokens.push(Token::Number(value));
        } else if c.is_alphabetic() {
            let text = take_while(&mut chars, |c| c.is_alphanumeric() || c == '_');
            tokens.push(Token::Name(text));
        } else if "+-*/()".contains(c) {
            tokens.push(Token::Symbol(c));
            chars.next();
        } else {
            return Err(Error::BadCharacter(at, c));
        }
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    variables: &'a HashMap<String, f64>,
}

impl Parser<'_> {
    /// Take the next token if it is one of the given symbols.
    fn accept(&mut self, symbols: &str) -> Option<char> {
        match self.tokens.first() {
            Some(&Token::Symbol(c)) if symbols.contains(c) => {
                self.tokens = &self.tokens[1..];
                Some(c)
            }
            _ => None,
        }
    }

    fn sum(&mut self) -> Result<f64, Error> {
        let mut value = self.product()?;
        while let Some(symbol) = self.accept("+-") {
            let right = self.product()?;
            value = if symbol == '+' { value + right } else { value - right };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, Error> {
        let mut value = self.unary()?;
        while let Some(symbol) = self.accept("*/") {
            let right = self.unary()?;
            value = if symbol == '*' { value * right } else { value / right };
        }
        Ok(value)
    }

    fn unary(&mut self) -> Result<f64, Error> {
        if self.accept("-").is_some() {
            return Ok(-self.unary()?);
        }
        self.atom()
    }

    fn atom(&mut self) -> Result<f64, Error> {
        if self.accept("(").is_some() {
            let value = self.sum()?;
            return match self.accept(")") {
                Some(_) => Ok(value),
                None => Err(Error::Expected("a closing bracket")),
            };
        }
        let value = match self.tokens.first() {
            Some(Token::Number(value)) => *value,
            Some(Token::Name(name)) => *self
                .variables
                .get(name)
                .ok_or_else(|| Error::UnknownName(name.clone()))?,
            _ => return Err(Error::Expected("a number, a name or a bracket")),
        };
        self.tokens = &self.tokens[1..];
        Ok(value)
    }
}

/// Evaluate `source`, looking up names in `variables`.
pub fn evaluate(source: &str, variables: &HashMap<String, f64>) -> Result<f64, Error> {
    let tokens = tokenize(source)?;
    let mut parser = Parser { tokens: &tokens, variables };
    let value = parser.sum()?;
    if parser.tokens.is_empty() {
        Ok(value)
    } else {
        Err(Error::Expected("the end of the input"))
    }
}
