"""Whether the move changed names and nothing else: `python3 same.py CHECKOUT` on a moved, uncommitted tree.

Every top-level statement of HEAD is looked for in the moved tree by its words; what differs is printed, word for word.
"""
import ast, difflib, io, re, subprocess, sys, tokenize
from collections import Counter
from pathlib import Path

root = Path(sys.argv[1]).resolve()

def statements(text):
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            continue
        yield node

def words(node):
    return [t.string for t in tokenize.generate_tokens(io.StringIO(ast.unparse(node)).readline) if t.string.strip()]

def tree(texts):
    return [(name, node, words(node)) for name, text in texts for node in statements(text)]

names = subprocess.run(["git", "-C", root, "ls-tree", "-r", "--name-only", "HEAD", "mc_sink"], capture_output=True, text=True).stdout.split()
old = tree([(n, subprocess.run(["git", "-C", root, "show", f"HEAD:{n}"], capture_output=True, text=True).stdout) for n in names if n.endswith(".py")])
new = tree([(str(p.relative_to(root)), p.read_text()) for p in sorted((root / "mc_sink").rglob("*.py"))])
by_words = {}
for name, node, w in new:
    by_words.setdefault(tuple(w), []).append((name, node))
left_new = Counter(tuple(w) for _, _, w in new)
rest = []
for name, node, w in old:
    if left_new[tuple(w)]:
        left_new[tuple(w)] -= 1
    else:
        rest.append((name, node, w))
unmatched = [(n, node, w) for n, node, w in new if left_new[tuple(w)] > 0]
pairs, strange = Counter(), []
for name, node, w in rest:
    best = max(unmatched, key=lambda one: difflib.SequenceMatcher(None, w, one[2], autojunk=False).quick_ratio() if abs(len(one[2]) - len(w)) < 30 else 0, default=None)
    if best is not None and difflib.SequenceMatcher(None, w, best[2], autojunk=False).ratio() < 0.5:
        best = None
    if best is None:
        print('gone:', name, ' '.join(w)[:100])
        continue
    for tag, a, b, c, d in difflib.SequenceMatcher(None, w, best[2], autojunk=False).get_opcodes():
        if tag != "equal":
            pairs[" ".join(w[a:b])[:150], " ".join(best[2][c:d])[:150]] += 1
    unmatched.remove(best)
print("the same:", len(old) - len(rest), "changed:", len(rest), "only new:", [(n, " ".join(w[:4])) for n, _, w in unmatched])
for (a, b), times in sorted(pairs.items()):
    print(f"{times:3} {a!r} → {b!r}")
