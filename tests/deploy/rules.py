"""Every rule of values.schema.json: a value that breaks it is refused, and its place is named.

The broken values are made from the schema, as many as fit into one file at a time: helm names all that is wrong.
"""

import json
import pathlib
from collections.abc import Iterator

import chart

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
# What is of another type than everything else.
WRONG_TYPE = {"string": 7, "integer": "many", "number": "many", "boolean": "perhaps", "array": "all", "object": "all"}
# What no pattern of the schema takes.
UNMATCHED = " !\t"

Place = tuple[str | int, ...]


def broken(schema: dict, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """Each place where a rule can be broken, with what breaks it."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and place:
        yield place, {"all": True} if "string" in kinds else WRONG_TYPE[kinds[0]]
    if "enum" in schema:
        yield place, "neither"
    if "pattern" in schema:
        yield place, UNMATCHED
    if "minimum" in schema:
        yield place, schema["minimum"] - 1
    if "maximum" in schema:
        yield place, schema["maximum"] + 1
    if schema.get("minLength"):
        yield place, ""
    if "maxLength" in schema:
        yield place, "a" * (schema["maxLength"] + 1)
    if schema.get("minItems"):
        yield place, []
    for name in schema.get("required", []):
        if place:
            yield place, {}
    if schema.get("additionalProperties") is False:
        yield (*place, "typo"), True
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from broken(schema["additionalProperties"], (*place, "any"))
    for name, of in schema.get("properties", {}).items():
        yield from broken(of, (*place, name))
    if isinstance(schema.get("items"), dict):
        yield from broken(schema["items"], (*place, 0))


def named(place: Place) -> str:
    """The place as helm names it: that of what holds it, where a name is unknown."""
    holder = place[:-1] if place[-1] == "typo" else place
    return "at '" + "".join(f"/{part}" for part in holder) + "'"


def overlap(one: Place, other: Place) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def put(values: dict | list, place: Place, value: object) -> None:
    first, *rest = place
    if isinstance(values, list):
        if not values:
            values.append([] if rest and isinstance(rest[0], int) else {})
        if not rest:
            values[0] = value
            return
        put(values[0], tuple(rest), value)
        return
    if not rest:
        values[first] = value
        return
    put(values.setdefault(first, [] if isinstance(rest[0], int) else {}), tuple(rest), value)


def each_refuses(directory: pathlib.Path) -> int:
    """Breaks every rule; gives how many there are."""
    left = list(broken(SCHEMA))
    total, round_number = len(left), 0
    while left:
        taken: list[tuple[Place, object]] = []
        for place, value in left:
            if not any(overlap(place, other) for other, _ in taken):
                taken.append((place, value))
        values: dict = {}
        for place, value in taken:
            put(values, place, value)
        round_number += 1
        file = directory / f"broken-{round_number}.json"
        file.write_text(json.dumps(values), encoding="utf-8")
        done = chart.template("--values", file)
        missed = [place for place, _ in taken if named(place) not in done.stderr
                  or place[-1] == "typo" and "'typo' not allowed" not in done.stderr]
        if done.returncode == 0 or missed:
            raise SystemExit(f"{missed} are not refused by {file.name}:\n{json.dumps(values, indent=1)}\n{done.stderr}")
        left = [item for item in left if item not in taken]
    return total
