"""What the templates' own validators do not see, or cannot without AWS's provider: names that nothing declares, and
declared ones that nothing uses. Run by `cargo xtask test`, in a Python that has hcl2."""

import pathlib
import re
import sys

import hcl2

FOLDER = pathlib.Path(__file__).parent

def compared(where, declared, used, unused_may_be=()):
    """Prints what only one side has, and says how much that is."""
    wrong = [f"{where}: {name} is used, and nothing declares it" for name in sorted(used - declared)]
    wrong += [f"{where}: nothing uses {name}" for name in sorted(declared - used - set(unused_may_be))]
    print("\n".join(wrong), end="\n" if wrong else "")
    return len(wrong)


def check_sam():
    text = (FOLDER / "sam/template.yaml").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    sections = dict(re.findall(r"^(\w+):\n((?:(?: .*)?\n)+)", code + "\n", re.M))
    names = {section: set(re.findall(r"^  (\w+):$", sections[section], re.M)) for section in ("Parameters", "Resources")}
    used = set(re.findall(r"!Ref (\w+)(?![\w:])|\$\{(\w+)\}|!GetAtt (\w+)|!If \[(\w+),", code))
    used = {name for found in used for name in found if name} - {"AWS"}
    conditions = set(re.findall(r"^  (\w+):", sections["Conditions"], re.M))
    # A function with a URL makes the resource of it; the loop declares its variable.
    declared = names["Parameters"] | names["Resources"] | conditions | {"ReplicaUrl", "Slot"}
    return compared("sam/template.yaml", declared, used)


def check_terraform():
    text = ""
    for file in sorted((FOLDER / "terraform").glob("*.tf")):
        source = file.read_text()
        # Raises an error for what the grammar does not permit.
        hcl2.loads(source)
        text += re.sub(r"^\s*#.*$", "", source, flags=re.M)
    code = re.sub(r'description\s*=\s*".*"', "", text)
    declared = {f"var.{name}" for name in re.findall(r'^variable "(\w+)"', code, re.M)}
    declared |= {f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', code, re.M)}
    declared |= {f"data.{kind}.{name}" for kind, name in re.findall(r'^data "(\w+)" "(\w+)"', code, re.M)}
    used = set(re.findall(r"\b(data\.aws_\w+\.\w+|var\.\w+|aws_\w+\.\w+)", code))
    # Settled by standing there: nobody asks for a schedule or a policy.
    leaves = {name for name in declared if name.startswith("aws_")}
    return compared("terraform", declared, used, leaves)


sys.exit(1 if check_sam() + check_terraform() else 0)
