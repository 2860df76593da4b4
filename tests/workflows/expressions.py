"""GitHub's expressions, as far as this project's workflows use them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|([A-Za-z_][\w-]*(?:\.[\w-]+)*)|(\d+)|(&&|\|\||==|!=|[!(),]))")
_EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def evaluate(expression: str, contexts: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] = {}) -> Any:
    """Return the value of an expression; names that nothing is known of are empty, as with GitHub."""
    return _Parser(_tokens(expression), contexts, functions).whole()


def filled(value: Any, contexts: Mapping[str, Any]) -> Any:
    """Return a value of a workflow with each ``${{ }}`` in it replaced by what it stands for, as text."""
    if isinstance(value, dict):
        return {name: filled(item, contexts) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    return _EMBEDDED.sub(lambda found: as_text(evaluate(found[1], contexts)), value)


def as_text(value: Any) -> str:
    """Return a value as GitHub writes it into a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _tokens(expression: str) -> list[tuple[str, str]]:
    kinds = ("text", "name", "number", "sign")
    found, position = [], 0
    expression = expression.strip()
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if not token:
            raise ValueError(f"{expression!r}: cannot be read at {expression[position:]!r}")
        found += [(kind, part) for kind, part in zip(kinds, token.groups(), strict=True) if part is not None]
        position = token.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], contexts: Mapping[str, Any], functions: Mapping[str, Any]):
        self.tokens, self.contexts, self.functions = tokens, contexts, functions

    def whole(self) -> Any:
        value = self.either()
        if self.tokens:
            raise ValueError(f"{self.tokens}: too much")
        return value

    def either(self) -> Any:
        value = self.both()
        while self._take("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.compared()
        while self._take("&&"):
            other = self.compared()
            value = value and other
        return value

    def compared(self) -> Any:
        value = self.single()
        for sign in ("==", "!="):
            if self._take(sign):
                other = self.single()
                equal = as_text(value).lower() == as_text(other).lower()
                return equal if sign == "==" else not equal
        return value

    def single(self) -> Any:
        if self._take("!"):
            return not self.single()
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        kind, part = self.tokens.pop(0)
        if kind == "text":
            return part[1:-1].replace("''", "'")
        if kind == "number":
            return int(part)
        if kind == "name" and self._take("("):
            self._expect(")")
            return self.functions[part]()
        return self._looked_up(part)

    def _looked_up(self, name: str) -> Any:
        if name in ("true", "false"):
            return name == "true"
        value: Any = self.contexts
        for part in name.split("."):
            if value is self.contexts and part not in value:
                raise ValueError(f"{name}: no such context")
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _take(self, sign: str) -> bool:
        if self.tokens and self.tokens[0] == ("sign", sign):
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign} is missing before {self.tokens}")
