"""Whether a PromQL expression can ever find something: each series exists and is used as what it is, and each label is there."""

import re

import promql_parser as promql

# The whole number of what a counter counted means nothing: it starts anew with the process.
OF_COUNTERS = {"rate", "increase", "irate", "resets"}
OF_GAUGES = {"delta", "deriv", "idelta", "predict_linear", "avg_over_time", "max_over_time", "min_over_time", "sum_over_time", "last_over_time"}
KEEP_LABELS = {"abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "sort", "sort_desc"}
KEEP_ELEMENTS = {"topk", "bottomk", "limitk"}
SETS = {"and", "or", "unless"}


class Wrong(Exception):
    """What the expression gets wrong."""


def check(expression, offered):
    """The labels of what the expression finds, or None where it is a number."""
    return labels(parse(expression), offered)


def selectors(expression):
    """Every selector of the expression."""
    found = []
    promql.walk(parse(expression), lambda node: found.append(node) if isinstance(node, promql.VectorSelector) else None)
    return found


def parse(expression):
    try:
        # Grafana puts a duration here.
        return promql.parse(expression.replace("$__rate_interval", "5m"))
    except ValueError as error:
        raise Wrong(f"not PromQL: {error}") from error


def labels(node, offered):
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels(node.expr, offered)
        case promql.VectorSelector():
            return selected(node, offered, {"gauge"})
        case promql.Call():
            return called(node, offered)
        case promql.AggregateExpr():
            return aggregated(node, offered)
        case promql.BinaryExpr():
            return joined(node, offered)
    raise Wrong(f"{type(node).__name__} is not known to this check")


def selected(selector, offered, kinds):
    """The labels of a selector that may only select series of these kinds."""
    if selector.name not in offered:
        raise Wrong(f"there is no series {selector.name}")
    series = offered[selector.name]
    if series.kind not in kinds:
        raise Wrong(f"{selector.name} is a {series.kind}, used as a {' or '.join(sorted(kinds))}")
    for matcher in selector.matchers.matchers:
        if matcher.name not in series.labels:
            raise Wrong(f"{selector.name} has no label {matcher.name}")
        known = series.values.get(matcher.name)
        regular = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
        for wanted in matcher.value.split("|") if regular else [matcher.value]:
            pattern = wanted if regular else re.escape(wanted)
            if known is not None and not any(re.fullmatch(pattern, value) for value in known):
                raise Wrong(f"{matcher.name} of {selector.name} is never {wanted}")
    one = {matcher.name for matcher in selector.matchers.matchers if matcher.op == promql.MatchOp.Equal}
    return series.labels - (one & {"le"})


def called(call, offered):
    name = call.func.name
    if name == "time":
        return None
    if name in {"vector", "scalar"}:
        inner = labels(call.args[0], offered)
        return None if name == "scalar" or inner is not None else frozenset()
    if name in {"absent", "absent_over_time"}:
        (argument,) = call.args
        selector = getattr(argument, "vector_selector", argument)
        selected(selector, offered, {"counter", "gauge", "bucket"})
        return frozenset(m.name for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal)
    if name == "histogram_quantile":
        return quantile(call, offered)
    if name in OF_COUNTERS | OF_GAUGES:
        argument = call.args[0]
        if isinstance(argument, promql.MatrixSelector):
            kinds = {"counter", "bucket"} if name in OF_COUNTERS else {"gauge"}
            return selected(argument.vector_selector, offered, kinds)
        if name in OF_COUNTERS:
            raise Wrong(f"{name} of what is no counter any more")
        return labels(argument, offered)
    if name in KEEP_LABELS:
        return labels(call.args[0], offered)
    raise Wrong(f"{name} is not known to this check")


def quantile(call, offered):
    _, argument = call.args
    inner = labels(argument, offered)
    if inner is None or "le" not in inner:
        raise Wrong("histogram_quantile of what has no label le")
    if not isinstance(argument, promql.AggregateExpr) or str(argument.op) != "sum":
        raise Wrong("histogram_quantile of what is not summed: each pod's quantile would be one of few requests")
    return inner - {"le"}


def aggregated(node, offered):
    inner = labels(node.expr, offered)
    if inner is None:
        raise Wrong(f"{node.op} of a number")
    named = frozenset(node.modifier.labels) if node.modifier else frozenset()
    if missing := named - inner:
        raise Wrong(f"{node.op} by {', '.join(sorted(missing))}, which is no label there")
    if str(node.op) in KEEP_ELEMENTS:
        return inner
    without = node.modifier and node.modifier.type == promql.AggModifierType.Without
    left = inner - named if without else named
    if "le" in inner - left:
        raise Wrong(f"{node.op} over buckets, each of which counts those below it again")
    return left


def joined(node, offered):
    left, right = labels(node.lhs, offered), labels(node.rhs, offered)
    if left is None or right is None:
        return left if right is None else right
    operator, modifier = str(node.op), node.modifier
    matching = modifier.matching if modifier else None
    if matching is None:
        if left != right:
            raise Wrong(f"{operator} between labels {sorted(left)} and {sorted(right)}, which never match")
        return left
    named = frozenset(matching.labels)
    if missing := named - (left & right):
        raise Wrong(f"{operator} on {', '.join(sorted(missing))}, which both sides must have")
    if modifier.card in (promql.VectorMatchCardinality.ManyToOne, promql.VectorMatchCardinality.OneToMany):
        raise Wrong("group_left and group_right are not known to this check")
    on = matching.type == promql.LabelModifierType.Include
    if not on and left - named != right - named:
        raise Wrong(f"{operator} between labels {sorted(left - named)} and {sorted(right - named)}, which never match")
    if operator in SETS:
        return left
    return named if on else left - named
