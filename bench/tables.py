"""Figures as text: medians with their spread, ratios within a round, targets."""

import statistics

# What the ratios and figures must reach, by the key that the parts use: ("<=" or ">=", value).
# A key that is not here has no target, and its column is empty.
TARGETS = {
    "c plain": ("<=", 1600),  # resident bytes of an idle client
    "c plain, own tokens": ("<=", 1600),
    "c TLS": ("<=", 12000),
    "e errors": ("<=", 0),
    "f": ("<=", 10),  # microseconds
}
for _clients, _simple, _prepared in ((1, 2.2, 2.6), (16, 2.0, 3.3), (64, 2.7, 3.0)):
    TARGETS[f"a tenant simple {_clients}"] = (">=", _simple)
    TARGETS[f"a tenant prepared {_clients}"] = (">=", _prepared)
    for _mode in ("simple", "extended", "prepared"):
        TARGETS[f"a plain {_mode} {_clients}"] = (">=", 0.95)
        TARGETS[f"b plain plain {_mode} {_clients}"] = ("<=", 1.0)
        TARGETS[f"b plain TLS {_mode} {_clients}"] = ("<=", 0.85)
        TARGETS[f"b tenant plain {_mode} {_clients}"] = ("<=", 0.3)
for _word in ("plain", "TLS"):
    for _kind in ("repeated", "HS256", "RS256"):
        TARGETS[f"d {_word} {_kind}"] = (">=", 1.0)


def spread(values, form):
    """Median (min..max); one value alone."""
    if not values:
        return "–"
    if len(values) == 1:
        return form.format(values[0])
    middle, low, high = (form.format(v) for v in (statistics.median(values), min(values),
                                                  max(values)))
    return f"{middle} ({low}..{high})"


def ratios(mine, theirs):
    """Within a round, because the machine is another one in the next."""
    return [a / b for a, b in zip(mine, theirs) if b]


def verdict(key, values):
    """"≥ 4.0 ok" of the median, or nothing where there is no target."""
    if key not in TARGETS or not values:
        return ""
    sign, target = TARGETS[key]
    value = statistics.median(values)
    reached = value <= target if sign == "<=" else value >= target
    return f"{'≤' if sign == '<=' else '≥'} {target:,g} {'ok' if reached else 'missed'}"


def table(head, rows):
    """Columns that are empty in every row are left out."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[row[i] for i in kept] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
        for cells in lines
    )
