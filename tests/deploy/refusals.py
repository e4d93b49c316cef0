"""Values that make no sense together: each is refused when the chart is rendered, with its sentence."""

import re

import chart

SENTENCES = chart.CHART / "templates/_refusals.tpl"
REFUSED = sorted((chart.ROOT / "tests/deploy/refused").glob("*.yaml"))


def sentences() -> list[re.Pattern]:
    """Every sentence of the chart, with anything where a value stands."""
    text = SENTENCES.read_text(encoding="utf-8")
    literals = re.findall(r'append \$no (?:\(printf )?"((?:[^"\\]|\\.)*)"', text)
    if len(literals) != text.count("append $no"):
        raise SystemExit(f"{SENTENCES.name} has a sentence that this test cannot read")
    plain = (literal.replace('\\"', '"') for literal in literals)
    return [re.compile(re.sub(r"%[vds]", ".*", re.escape(literal))) for literal in plain]


def each_sentence() -> int:
    """Renders each values file and finds its refusal; gives how many there are."""
    left = sentences()
    for file in REFUSED:
        due = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        done = chart.template("--values", file)
        told = [line for line in done.stderr.splitlines() if line.startswith("- ")]
        if done.returncode == 0 or len(told) != 1 or due not in told[0]:
            raise SystemExit(f"{file.name} is to be refused with '{due}' alone, and helm ended with {done.returncode}:\n"
                             f"{done.stderr}")
        left = [sentence for sentence in left if not sentence.search(told[0])]
    if left:
        raise SystemExit("no values file is refused with: " + "; ".join(sentence.pattern for sentence in left))
    both = chart.template("--set", "replicaCount=2")
    if sum(line.startswith("- ") for line in both.stderr.splitlines()) != 3:
        raise SystemExit(f"not all that is wrong is told at once:\n{both.stderr}")
    return len(REFUSED)
