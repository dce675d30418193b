"""A small PowerShell 5.1: enough of the language for the scripts of ollama-fleet, and nothing guessed.

Syntax is checked by tree-sitter's grammar. Of the tree only what is listed here is understood; a node, an operator,
a cmdlet or a parameter that is not raises NotModelledError, which no `catch` of a script can swallow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from windows.values import (
    Exited,
    NotModelledError,
    PsEnum,
    PsHash,
    PsObject,
    ThrownError,
    collapse,
    each,
    text,
    truth,
)

_PARSER = Parser(Language(tree_sitter_powershell.language()))
QUOTES = "'‘’‚‛"
"""All of these end a string in single quotes."""


SWITCHES = {"confirm", "force", "recurse", "file", "directory", "compress", "nonewwindow", "passthru"}
"""Parameters that take a value only after a colon."""


class Input(Protocol):
    """A process's standard input."""

    def read(self) -> str: ...

    def readline(self) -> str: ...


class Machine(Protocol):
    """What a script acts on."""

    def command(
        self,
        interpreter: Interpreter,
        name: str,
        parameters: dict[str, Any],
        positional: list[Any],
        piped: Any,
    ) -> list[Any]: ...

    def static(self, interpreter: Interpreter, kind: str, name: str, arguments: list[Any] | None) -> Any: ...

    def construct(self, kind: str, arguments: list[Any]) -> Any: ...


def parse(script: str) -> Node:
    """The syntax tree. Raises SyntaxError with the line."""
    tree = _PARSER.parse(script.encode())
    if tree.root_node.has_error:
        bad = _first_error(tree.root_node)
        raise SyntaxError(f"line {bad.start_point[0] + 1}: {(bad.text or b'').decode()[:200]!r}")
    return tree.root_node


def _first_error(node: Node) -> Node:
    for child in node.children:
        if child.type == "ERROR" or child.is_missing:
            return child
        if child.has_error:
            return _first_error(child)
    return node


def _only(node: Node) -> Node:
    """Down the chain of nodes that have a single child."""
    while node.child_count == 1 and node.named_child_count == 1:
        node = node.named_children[0]
    return node


def _words(node: Node) -> str:
    return (node.text or b"").decode()


class Jump(Exception):
    """`continue` and `break`, with what was put out before them."""

    def __init__(self) -> None:
        super().__init__()
        self.output: list[Any] = []


class Continued(Jump):
    """On to the next round."""


class Broken(Jump):
    """Out of the loop."""


class Block:
    """A script block."""

    def __init__(self, node: Node) -> None:
        self.node = node


class Interpreter:
    """Runs one script on a machine."""

    def __init__(self, machine: Machine, stdin: Input, error: Callable[[str], None]) -> None:
        self.machine = machine
        self.stdin = stdin
        self.told: Callable[[str], None] = lambda _: None
        """Is given a script that the script makes a block of."""
        self.write_error = error
        self.variables: dict[str, Any] = {"true": True, "false": False, "null": None, "lastexitcode": 0}
        self.environment: dict[str, str] = {}
        self.files: list[Any] = []
        """Open files; they are closed with the process."""

    def run(self, script: str) -> list[Any]:
        """Output of a script. Raises SyntaxError, ThrownError, Exited, NotModelledError."""
        return self.statements(parse(script))

    def statements(self, node: Node) -> list[Any]:
        out: list[Any] = []
        for child in node.named_children:
            if child.type in ("statement_list", "statement_block", "script_block", "script_block_body"):
                try:
                    out += self.statements(child)
                except Jump as jump:
                    jump.output = out + jump.output
                    raise
            elif child.type != "comment":
                try:
                    out += self.statement(child)
                except Jump as jump:
                    jump.output = out + jump.output
                    raise
        return out

    def statement(self, node: Node) -> list[Any]:
        node = _only(node)
        kind = node.type
        if kind == "if_statement":
            return self._if(node)
        if kind == "foreach_statement":
            return self._foreach(node)
        if kind == "while_statement":
            return self._while(node)
        if kind == "try_statement":
            return self._try(node)
        if kind == "flow_control_statement":
            return self._flow(node)
        if kind == "assignment_expression":
            self._assign(node)
            return []
        if kind in ("statement_list", "statement_block"):
            return self.statements(node)
        if kind == "empty_statement":
            return []
        return self.pipeline(node)

    def _if(self, node: Node) -> list[Any]:
        parts = node.children
        condition = next(p for p in parts if p.is_named and p.type != "statement_block")
        if truth(self.value(condition)):
            return self.statements(next(p for p in parts if p.type == "statement_block"))
        clauses = [p for p in parts if p.type in ("elseif_clauses", "elseif_clause", "else_clause")]
        flat = [q for p in clauses for q in (p.named_children if p.type == "elseif_clauses" else [p])]
        for clause in flat:
            block = next(p for p in clause.children if p.type == "statement_block")
            if clause.type == "else_clause":
                return self.statements(block)
            test = next(p for p in clause.children if p.is_named and p.type != "statement_block")
            if truth(self.value(test)):
                return self.statements(block)
        return []

    def _foreach(self, node: Node) -> list[Any]:
        named = [p for p in node.named_children if p.type != "statement_block"]
        name = _words(named[0]).lstrip("$").lower()
        block = next(p for p in node.children if p.type == "statement_block")
        out: list[Any] = []
        for item in list(each(self.value(named[1]))):
            self.variables[name] = item
            try:
                out += self.statements(block)
            except Continued as jump:
                out += jump.output
            except Broken as jump:
                return out + jump.output
        return out

    def _while(self, node: Node) -> list[Any]:
        condition = next(p for p in node.named_children if p.type != "statement_block")
        block = next(p for p in node.children if p.type == "statement_block")
        out: list[Any] = []
        for _ in range(10000):
            if not truth(self.value(condition)):
                return out
            try:
                out += self.statements(block)
            except Continued as jump:
                out += jump.output
            except Broken as jump:
                return out + jump.output
        raise NotModelledError("a loop without an end")

    def _try(self, node: Node) -> list[Any]:
        blocks = {p.type: p for p in node.named_children}
        try:
            return self.statements(blocks["statement_block"])
        except ThrownError as error:
            catch = next((p for p in _descend(node, "catch_clause")), None)
            if catch is None:
                raise
            self.variables["_"] = PsObject(
                "ErrorRecord", {"Exception": PsObject("Exception", {"Message": str(error)})}
            )
            return self.statements(next(p for p in catch.children if p.type == "statement_block"))
        finally:
            for clause in _descend(node, "finally_clause"):
                self.statements(next(p for p in clause.children if p.type == "statement_block"))

    def _flow(self, node: Node) -> list[Any]:
        word = node.children[0].type
        value = self.value(node.named_children[-1]) if node.child_count > 1 else None
        if word == "throw":
            raise ThrownError(text(value))
        if word == "exit":
            raise Exited(int(value or 0))
        if word in ("continue", "break"):
            raise (Continued if word == "continue" else Broken)()
        raise NotModelledError(word)

    def _assign(self, node: Node) -> None:
        target, operator, *rest = [p for p in node.children if p.type != "comment"]
        value = self._right(rest[0])
        sign = _words(operator)
        target = _only(target)
        if sign == "+=":
            old = self.value(target)
            value = _add([] if old is None and isinstance(value, list) else old, value)
        elif sign == "-=":
            value = self.value(target) - value
        elif sign != "=":
            raise NotModelledError(f"assignment {sign}")
        self._set(target, value)

    def _right(self, node: Node) -> Any:
        inner = _only(node)
        if inner.type in ("if_statement", "try_statement", "foreach_statement"):
            return collapse(self.statement(inner))
        if inner.type in ("pipeline_chain", "command", "command_name"):
            return collapse(self.pipeline(inner))
        return self.value(inner)

    def _set(self, target: Node, value: Any) -> None:
        if target.type == "cast_expression":
            value = self._cast(_words(target.named_children[0]), value)
            target = _only(target.named_children[1])
        if target.type == "variable":
            name = _words(target)[1:].lower()
            if name.startswith("env:"):
                self.environment[_words(target)[5:]] = text(value)
            else:
                self.variables[name] = value
        elif target.type == "member_access":
            owner, member = target.named_children[0], target.named_children[-1]
            if owner.type == "type_literal":
                self.machine.static(self, _words(owner)[1:-1], _words(member), [value])
                return
            there = self.value(owner)
            if not isinstance(there, PsObject):
                raise NotModelledError(f"setting a member of {type(there).__name__}")
            there.set(_words(member), value)
        elif target.type == "element_access":
            there = self.value(target.named_children[0])
            if not isinstance(there, PsHash):
                raise NotModelledError("setting an element of what is no hashtable")
            there.set(text(self.value(target.named_children[1])), value)
        else:
            raise NotModelledError(f"assignment to {target.type}")

    def pipeline(self, node: Node) -> list[Any]:
        node = _only(node)
        if node.type != "pipeline_chain":
            return self._stage(node, None, first=True)
        stages = [p for p in node.named_children if p.type != "comment"]
        out: list[Any] = []
        for index, stage in enumerate(stages):
            out = self._stage(_only(stage), out, first=index == 0)
        return out

    def _stage(self, node: Node, piped: list[Any] | None, *, first: bool) -> list[Any]:
        if node.type in ("command", "command_name", "foreach_command"):
            return self._command(node, None if first else piped)
        if not first:
            raise NotModelledError(f"{node.type} inside a pipeline")
        if node.type in ("post_increment_expression", "pre_increment_expression"):
            name = _words(_only(node.named_children[0]))[1:].lower()
            self.variables[name] = self.variables[name] + 1
            return []
        return list(each(self.value(node)))

    def _command(self, node: Node, piped: list[Any] | None) -> list[Any]:
        if node.type == "command_name":
            return self._invoke(_words(node), {}, [], piped)
        parts = [p for p in node.named_children if p.type != "comment"]
        called = parts[0].type == "command_invokation_operator"
        if called:
            if _words(parts[0]).strip() != "&":
                raise NotModelledError(f"call operator {_words(parts[0])}")
            parts = parts[1:]
        head = _only(parts[0])
        named = head.type in ("command_name", "path_command_name_token")
        target: Any = self.value(head) if called and not named else _words(head)
        elements = [
            q
            for p in parts[1:]
            for q in (p.named_children if p.type == "command_elements" else [p])
            if q.type not in ("command_argument_sep", "comment")
        ]
        parameters, positional = self._arguments([_only(e) for e in elements])
        if isinstance(target, Block):
            if parameters or positional:
                raise NotModelledError("arguments of a script block")
            return self.statements(target.node)
        return self._invoke(text(target), parameters, positional, piped)

    def _arguments(self, elements: list[Node]) -> tuple[dict[str, Any], list[Any]]:
        parameters: dict[str, Any] = {}
        positional: list[Any] = []
        waiting: str | None = None
        for element in elements:
            kind = element.type
            if kind == "command_parameter":
                if waiting:
                    parameters[waiting] = True
                waiting = _words(element)[1:].lower()
                after = element.next_sibling
                if waiting in SWITCHES and not (after is not None and _words(after) == ":"):
                    parameters[waiting], waiting = True, None
                continue
            if kind in ("redirection", "generic_token") and re.fullmatch(
                r"(2>\$null|2>&1|>\$null)", _words(element)
            ):
                continue
            if kind == "variable" and _words(element).startswith("@"):
                splat = self.variables[_words(element)[1:].lower()]
                parameters.update({key.lower(): value for key, value in splat.properties.items()})
                continue
            value = _words(element) if kind == "generic_token" else self.value(element)
            if waiting:
                parameters[waiting], waiting = value, None
            else:
                positional.append(value)
        if waiting:
            parameters[waiting] = True
        return parameters, positional

    def _invoke(
        self, name: str, parameters: dict[str, Any], positional: list[Any], piped: list[Any] | None
    ) -> list[Any]:
        low = name.lower()
        if low in ("where-object", "foreach-object"):
            block = positional[0] if len(positional) == 1 else None
            if parameters or not isinstance(block, Block):
                raise NotModelledError(f"{name} without a block")
            out: list[Any] = []
            outer = self.variables.get("_")
            for item in piped or []:
                self.variables["_"] = item
                given = self.statements(block.node)
                if low == "foreach-object":
                    out += given
                elif truth(collapse(given)):
                    out.append(item)
            self.variables["_"] = outer
            return out
        if low == "out-null":
            return []
        return self.machine.command(self, name, parameters, positional, piped)

    def value(self, node: Node) -> Any:
        node = _only(node)
        handler: Callable[[Node], Any] | None = getattr(self, f"_v_{node.type}", None)
        if handler is None:
            if node.type in ("command", "command_name", "pipeline_chain"):
                return collapse(self.pipeline(node))
            raise NotModelledError(f"{node.type}: {_words(node)[:80]}")
        return handler(node)

    def _v_verbatim_string_characters(self, node: Node) -> str:
        inner, out, index = _words(node)[1:-1], "", 0
        while index < len(inner):
            if inner[index] in QUOTES:
                if index + 1 == len(inner) or inner[index + 1] not in QUOTES:
                    raise SyntaxError(f"a quote ends this string early: {inner!r}")
                index += 1
            out += inner[index]
            index += 1
        return out

    def _v_decimal_integer_literal(self, node: Node) -> int:
        return int(_words(node))

    def _v_variable(self, node: Node) -> Any:
        name = _words(node)[1:].strip("{}")
        if name.lower().startswith("env:"):
            return self.machine.static(self, "Environment", "GetEnvironmentVariable", [name[4:]])
        return self.variables.get(name.lower())

    def _v_array_expression(self, node: Node) -> list[Any]:
        return [item for child in node.named_children for item in self.statement(child)]

    def _v_array_literal_expression(self, node: Node) -> list[Any]:
        return [self.value(child) for child in node.named_children]

    def _v_argument_expression_list(self, node: Node) -> list[Any]:
        return [self.value(child) for child in node.named_children]

    def _v_parenthesized_expression(self, node: Node) -> Any:
        return self._right(node.named_children[0])

    def _v_sub_expression(self, node: Node) -> Any:
        return collapse(self.statements(node))

    def _v_script_block_expression(self, node: Node) -> Block:
        return Block(node)

    def _v_hash_literal_expression(self, node: Node) -> PsHash:
        found = PsHash()
        for entry in _descend(node, "hash_entry", deep=False):
            key, value = entry.named_children
            key = _only(key)
            name = _words(key) if key.type in ("simple_name", "key_expression") else text(self.value(key))
            found.properties[name] = self._right(value)
        return found

    def _v_cast_expression(self, node: Node) -> Any:
        return self._cast(_words(node.named_children[0]), self.value(node.named_children[1]))

    def _cast(self, literal: str, value: Any) -> Any:
        kind = literal[1:-1].lower()
        if kind == "pscustomobject" and isinstance(value, PsHash):
            return PsObject("pscustomobject", dict(value.properties))
        if kind == "string":
            return text(value)
        if kind in ("int", "int64", "long"):
            return value.number if isinstance(value, PsEnum) else int(value or 0)
        if kind == "char" and isinstance(value, int):
            return chr(value)
        if kind == "bool":
            return truth(value)
        if kind in ("string[]", "object[]", "array"):
            return [text(item) if kind == "string[]" else item for item in each(value)]
        raise NotModelledError(f"cast to {literal}")

    def _v_expression_with_unary_operator(self, node: Node) -> Any:
        sign, operand = node.children[0].type.lower(), self.value(node.children[-1])
        if sign in ("!", "-not"):
            return not truth(operand)
        if sign == "-":
            return -operand
        raise NotModelledError(f"operator {sign}")

    def _v_logical_expression(self, node: Node) -> bool:
        result = truth(self.value(node.children[0]))
        for sign, operand in zip(node.children[1::2], node.children[2::2], strict=True):
            word = sign.type.lower()
            if word == "-and":
                result = result and truth(self.value(operand))
            elif word == "-or":
                result = result or truth(self.value(operand))
            else:
                raise NotModelledError(f"operator {word}")
        return result

    def _v_comparison_expression(self, node: Node) -> Any:
        result = self.value(node.children[0])
        for sign, operand in zip(node.children[1::2], node.children[2::2], strict=True):
            result = _compare(_words(sign).lower(), result, self.value(operand))
        return result

    def _v_additive_expression(self, node: Node) -> Any:
        result = self.value(node.children[0])
        for sign, operand in zip(node.children[1::2], node.children[2::2], strict=True):
            other = self.value(operand)
            if sign.type == "+":
                result = _add(result, other)
            elif sign.type == "-":
                result = result - other
            else:
                raise NotModelledError(f"operator {sign.type}")
        return result

    _v_logical_argument_expression = _v_logical_expression
    _v_comparison_argument_expression = _v_comparison_expression
    _v_additive_argument_expression = _v_additive_expression

    def _v_element_access(self, node: Node) -> Any:
        owner, index = self.value(node.named_children[0]), self.value(node.named_children[1])
        if isinstance(owner, PsObject):
            return owner.get(text(index))
        if isinstance(owner, (list, str)) and isinstance(index, int):
            return owner[index] if -len(owner) <= index < len(owner) else None
        if owner is None:
            raise ThrownError("Cannot index into a null array.")
        raise NotModelledError(f"element of {type(owner).__name__}")

    def _v_member_access(self, node: Node) -> Any:
        owner, member = node.named_children[0], _words(node.named_children[-1])
        if _only(owner).type == "type_literal":
            return self.machine.static(self, _words(owner)[1:-1], member, None)
        return member_of(self.value(owner), member)

    def _v_invokation_expression(self, node: Node) -> Any:
        owner, name, *rest = node.named_children
        arguments: list[Any] = []
        for child in map(_only, rest[0].named_children if rest else []):
            arguments += (
                self._v_argument_expression_list(child)
                if child.type == "argument_expression_list"
                else [self.value(child)]
            )
        if _only(owner).type == "type_literal":
            return self.machine.static(self, _words(owner)[1:-1], _words(name), arguments)
        return call(self, self.value(owner), _words(name), arguments)


def _descend(node: Node, kind: str, *, deep: bool = True) -> list[Node]:
    found = []
    for child in node.named_children:
        if child.type == kind:
            found.append(child)
        elif deep is False and child.type not in ("hash_literal_body",):
            continue
        elif child.type in ("catch_clauses", "hash_literal_body"):
            found += _descend(child, kind, deep=deep)
    return found


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, list):
        return [*left, *(right if isinstance(right, list) else [right])]
    if isinstance(left, str) or (left is None and isinstance(right, str)):
        return text(left) + text(right)
    if left is None:
        return right
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    raise NotModelledError(f"{type(left).__name__} + {type(right).__name__}")


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, PsEnum) or isinstance(right, PsEnum):
        return text(left).lower() == text(right).lower()
    if left is None or right is None:
        return left is right
    if isinstance(left, str):
        return left.lower() == text(right).lower()
    if isinstance(left, (int, bool)) and isinstance(right, (int, bool, str)):
        return text(left).lower() == text(right).lower() or left == right
    raise NotModelledError(f"{type(left).__name__} -eq {type(right).__name__}")


def _like(value: Any, pattern: Any) -> bool:
    if any(letter in text(pattern) for letter in "[]`"):
        raise NotModelledError("-like with [ ] or `")
    regex = ".*".join(re.escape(part) for part in text(pattern).split("*")).replace(r"\?", ".")
    return re.fullmatch(regex, text(value), re.IGNORECASE | re.DOTALL) is not None


_SINGLE: dict[str, Callable[[Any, Any], bool]] = {
    "-eq": _same,
    "-ne": lambda a, b: not _same(a, b),
    "-ceq": lambda a, b: text(a) == text(b),
    "-cne": lambda a, b: text(a) != text(b),
    "-like": _like,
    "-notlike": lambda a, b: not _like(a, b),
    "-lt": lambda a, b: a < b,
    "-gt": lambda a, b: a > b,
    "-le": lambda a, b: a <= b,
    "-ge": lambda a, b: a >= b,
}


def _compare(sign: str, left: Any, right: Any) -> Any:
    if sign in _SINGLE:
        test = _SINGLE[sign]
        return [item for item in left if test(item, right)] if isinstance(left, list) else test(left, right)
    if sign == "-join":
        return text(right).join(map(text, each(left)))
    if sign == "-contains":
        return any(_same(item, right) for item in each(left))
    if sign == "-notcontains":
        return not any(_same(item, right) for item in each(left))
    if sign == "-in":
        return any(_same(item, left) for item in each(right))
    if sign == "-notin":
        return not any(_same(item, left) for item in each(right))
    raise NotModelledError(f"operator {sign}")


def member_of(owner: Any, name: str) -> Any:
    """A property: of each item of a list, and of nothing it is nothing."""
    low = name.lower()
    if low == "count" and not isinstance(owner, PsObject):
        return len(owner) if isinstance(owner, list) else int(owner is not None)
    if low == "length" and isinstance(owner, (list, str, bytes)):
        return len(owner)
    if isinstance(owner, list):
        return collapse([found for item in owner if (found := member_of(item, name)) is not None])
    if owner is None:
        return None
    if isinstance(owner, PsObject):
        return owner.get(name)
    raise NotModelledError(f"{type(owner).__name__}.{name}")


def call(interpreter: Interpreter, owner: Any, name: str, arguments: list[Any]) -> Any:
    """A method of a value."""
    low = name.lower()
    if owner is None:
        raise ThrownError("You cannot call a method on a null-valued expression.")
    if isinstance(owner, PsObject) and low in owner.methods:
        return owner.methods[low](*arguments)
    if isinstance(owner, str):
        methods: dict[str, Callable[..., Any]] = {
            "substring": lambda start, length=None: owner[start : None if length is None else start + length],
            "replace": owner.replace,
            "startswith": owner.startswith,
            "endswith": owner.endswith,
            "lastindexof": owner.rfind,
            "indexof": owner.find,
            "tolower": owner.lower,
            "toupper": owner.upper,
            "trim": owner.strip,
            "trimend": lambda *letters: owner.rstrip("".join(letters) or None),
            "split": owner.split,
        }
        if low in methods:
            return methods[low](*arguments)
    raise NotModelledError(f"method {type(owner).__name__}.{name}")
