"""Prints the settings in a Python file as JSON, without running it: assignments, or the arguments of `uvicorn.run`."""

import ast
import json
import sys

FOUND = []
KNOWN = {}


class Unknown(Exception):
    """The value is known only when the file runs."""


def plain(text):
    return text.replace("${", "$${")


def variable(node):
    """`os.environ["NAME"]`, `os.environ.get("NAME", …)` and `os.getenv("NAME", …)` as a reference of the config."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environ"):
        return "${env:%s}" % ast.literal_eval(node.slice)
    if isinstance(node, ast.Call) and not node.keywords:
        if ast.unparse(node.func) in ("os.environ.get", "os.getenv", "environ.get", "getenv") and node.args:
            name = ast.literal_eval(node.args[0])
            default = value(node.args[1]) if len(node.args) > 1 else ""
            if isinstance(default, (list, bool)) or "}" in str(default):
                raise Unknown
            return "${env:%s:-%s}" % (name, "" if default is None else default)
        if ast.unparse(node.func) in ("int", "str", "float") and len(node.args) == 1:
            return value(node.args[0])
    raise Unknown


def value(node):
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int, float, str))):
        return plain(node.value) if isinstance(node.value, str) else node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [value(item) for item in node.elts]
    if isinstance(node, ast.Name) and node.id in KNOWN:
        return KNOWN[node.id]
    if isinstance(node, ast.JoinedStr):
        parts = [value(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
        if any(isinstance(part, list) for part in parts):
            raise Unknown
        return "".join(str(part) for part in parts)
    if isinstance(node, ast.BinOp):
        left, right = value(node.left), value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return left + right
        numbers = all(isinstance(side, (int, float)) and not isinstance(side, bool) for side in (left, right))
        if numbers and isinstance(node.op, ast.Mult):
            return left * right
        if numbers and isinstance(node.op, ast.Add):
            return left + right
        raise Unknown
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        # `os.environ.get("PORT") or 8000`
        first, second = value(node.values[0]), value(node.values[-1])
        if isinstance(first, str) and first.endswith(":-}") and not isinstance(second, list):
            return first[:-1] + str(second) + "}"
    return variable(node)


def found(name, node, line):
    try:
        got = value(node)
        KNOWN[name] = got
        FOUND.append({"name": name, "line": line, "value": got})
    except (Unknown, ValueError, TypeError):
        FOUND.append({"name": name, "line": line, "code": ast.unparse(node)})


def called(tree, module):
    """The arguments of `uvicorn.run(…)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (module + ".run", module + ".Config"):
            continue
        if node.args:
            first = node.args[0]
            if isinstance(first, ast.Name):
                first = ast.Constant(":" + first.id)
            found("app", first, node.lineno)
        for keyword in node.keywords:
            if keyword.arg:
                found(keyword.arg, keyword.value, keyword.value.lineno)
        return


def assigned(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found(node.targets[0].id, node.value, node.lineno)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found(node.target.id, node.value, node.lineno)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            FOUND.append({"name": node.name, "line": node.lineno, "function": True})
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
            pass
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            pass
        else:
            FOUND.append({"name": "", "line": node.lineno, "code": ast.unparse(node).splitlines()[0]})


def main():
    try:
        tree = ast.parse(sys.stdin.read())
    except SyntaxError as error:
        json.dump({"error": error.msg, "line": error.lineno}, sys.stdout)
        return
    if sys.argv[1]:
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                try:
                    KNOWN[node.targets[0].id] = value(node.value)
                except (Unknown, ValueError, TypeError):
                    pass
        called(tree, sys.argv[1])
    else:
        assigned(tree)
    json.dump(FOUND, sys.stdout)


main()
