"""Match a file's layers to the network's by name, for files without structure.

Names are read as a tree: `layer1.0.conv2` is conv2 in 0 in layer1. Numbers are in ascending order,
and words in one of the orders below, which are those of well-known networks. If a level's words fit
none of them, its order is unknown and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cnn_cli.errors import DataError, listed, suggest
from cnn_cli.interop.foreign import Foreign, Module, kind_of
from cnn_cli.nn.graph import Graph, Node

ORDERS: tuple[tuple[str, ...], ...] = (
    # torchvision and timm: ResNets.
    ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"),
    ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "se", "downsample"),
    # torchvision: AlexNet, VGG, MobileNets, EfficientNets.
    ("features", "classifier"),
    ("fc1", "fc2"),
    # timm: MobileNets, EfficientNets; blocks without expansion, then with it. The second order
    # contains the first one's words; the first order with all words is used.
    ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier"),
    ("conv_dw", "bn1", "se", "conv_pw", "bn2"),
    ("conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"),
    ("conv_reduce", "conv_expand"),
    # EfficientNet-PyTorch, and TensorFlow weights converted for it.
    ("_conv_stem", "_bn0", "_blocks", "_conv_head", "_bn1", "_fc"),
    (
        "_expand_conv",
        "_bn0",
        "_depthwise_conv",
        "_bn1",
        "_se_reduce",
        "_se_expand",
        "_project_conv",
        "_bn2",
    ),
    # torchvision: SqueezeNet, MNASNet, RegNets, ShuffleNet V2, ConvNeXt.
    ("squeeze", "expand1x1", "expand3x3"),
    ("layers", "classifier"),
    ("stem", "trunk_output", "fc"),
    ("f", "proj"),  # a residual's layers come before its shortcut
    ("a", "b", "se", "c"),
    ("conv1", "stage2", "stage3", "stage4", "conv5", "fc"),
    ("branch1", "branch2", "branch3", "branch4"),
    ("block", "layer_scale"),
    # DenseNets.
    (
        *("conv0", "norm0", "denseblock1", "transition1", "denseblock2", "transition2"),
        *("denseblock3", "transition3", "denseblock4", "norm5"),
    ),
    ("norm1", "conv1", "norm2", "conv2"),
    ("norm", "conv"),
    # GoogLeNet, Inception v3.
    (
        *("conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "inception4b"),
        *("inception4c", "inception4d", "inception4e", "inception5a", "inception5b", "fc"),
    ),
    ("conv", "bn"),
    (
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d"),
        *("Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"),
    ),
    (
        *("branch1x1", "branch5x5_1", "branch5x5_2", "branch7x7_1", "branch7x7_2", "branch7x7_3"),
        *("branch3x3", "branch3x3_1", "branch3x3_2", "branch3x3_2a", "branch3x3_2b"),
        *("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch3x3dbl_3a"),
        *("branch3x3dbl_3b", "branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3"),
        *("branch7x7dbl_4", "branch7x7dbl_5", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3"),
        *("branch7x7x3_4", "branch_pool"),
    ),
)

Tree = dict[str, "Tree | Module"]
Pairs = dict[int, Module]


def layers_with_arrays(graph: Graph) -> list[Node]:
    """Return the nodes with parameters or buffers, in order."""
    return [node for node in graph.nodes if node.layer.params or node.layer.buffers]


def match_names(graph: Graph, foreign: Foreign) -> tuple[Pairs, str]:
    """Pair the network's layers, by node, with the file's; return the pairs and the rule used.

    Equal names have priority; otherwise the file's layers are sorted and paired in order.
    `assemble` checks the arrays' shapes.

    Raises:
        DataError: no rule applies, or the layers differ in number or kind.
    """
    nodes = layers_with_arrays(graph)
    by_name = {module.name: module for module in foreign.modules}
    if all(node.name in by_name for node in nodes):
        return {node.index: by_name[node.name] for node in nodes}, "the network's own names"
    try:
        modules, rule_name = in_order(foreign), "known names"
    except DataError:
        modules, rule_name = list(foreign.modules), "the file's own order"
        names = [module.name for module in modules]
        if names == sorted(names) or not _same_shapes(nodes, modules):
            raise
    for node, module in zip(nodes, modules, strict=False):
        if not fits(node, module):
            rule = "layers must follow each other as in the config"
            got = f"{module.name} ({module.kind}) where {node.name} ({node.layer.kind}) should be"
            raise DataError(foreign.place, rule, got)
    if len(nodes) != len(modules):
        problems = [f"missing {node.name} ({node.layer.kind})" for node in nodes[len(modules) :]]
        problems += [f"extra {module.name}" for module in modules[len(nodes) :]]
        rule = f"must hold arrays for {len(nodes)} layers"
        raise DataError(foreign.place, rule, f"{len(modules)}: {listed(problems)}")
    return {node.index: each for node, each in zip(nodes, modules, strict=True)}, rule_name


def _same_shapes(nodes: list[Node], modules: list[Module]) -> bool:
    """Whether a file's layers, in its own order, have exactly the network's arrays.

    False for a file sorted by name, whose order carries no information.
    """
    if len(nodes) != len(modules):
        return False
    for node, module in zip(nodes, modules, strict=True):
        shapes = {spec.name: spec.torch_shape for spec in node.layer.params}
        shapes |= {spec.name: spec.shape for spec in node.layer.buffers}
        if {key: array.shape for key, array in module.arrays.items()} != shapes:
            return False
    return True


def match_map(graph: Graph, foreign: Foreign, mapping: Mapping[str, str], place: str) -> Pairs:
    """Pair layers by a `--map` file: the network's layer to the file's.

    Raises:
        DataError: a name in it is unknown, or a layer is missing.
    """
    nodes = {node.name: node for node in layers_with_arrays(graph)}
    modules = {module.name: module for module in foreign.modules}
    pairs: Pairs = {}
    for ours, theirs in mapping.items():
        if ours not in nodes:
            rule = f"no layer of the network with arrays is called so.{suggest(ours, nodes)}"
            raise DataError(place, rule, ours)
        if theirs not in modules:
            rule = f"no layer of {foreign.place} is called so.{suggest(theirs, modules)}"
            raise DataError(place, rule, theirs)
        pairs[nodes[ours].index] = modules[theirs]
    if missing := [name for name in nodes if name not in mapping]:
        raise DataError(
            place, "must name every layer that has arrays", f"none of {listed(missing)}"
        )
    return pairs


def fits(node: Node, module: Module) -> bool:
    """Whether a module fits a node: 1×1 convolutions fit linear layers too."""
    shapes = {spec.name: spec.torch_shape for spec in node.layer.params}
    kind = kind_of(shapes | {spec.name: spec.shape for spec in node.layer.buffers})
    return module.kind == kind or {module.kind, kind} == {"linear", "conv"}


def in_order(foreign: Foreign) -> list[Module]:
    """Return a file's layers in the order of the network to which their names belong.

    Raises:
        DataError: the names of a level fit none of `ORDERS`.
    """
    tree: Tree = {}
    for module in foreign.modules:
        here = tree
        *path, last = module.name.split(".")
        for part in path:
            child = here.setdefault(part, {})
            if isinstance(child, Module):
                raise _unknown(foreign, [part, module.name])
            here = child
        if last in here:
            raise _unknown(foreign, [module.name])
        here[last] = module
    return list(_walk(tree, foreign))


def _walk(tree: Tree, foreign: Foreign) -> Iterable[Module]:
    for name in _sorted(list(tree), foreign):
        child = tree[name]
        if isinstance(child, Module):
            yield child
        else:
            yield from _walk(child, foreign)


def _sorted(names: list[str], foreign: Foreign) -> list[str]:
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    if len(names) == 1:
        return names
    numbered = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    if all(numbered) and len({each[1] for each in numbered if each}) == 1:
        return sorted(names, key=lambda name: int(re.sub(r".*?(\d+)$", r"\1", name)))
    for order in ORDERS:
        if set(names) <= set(order):
            return sorted(names, key=order.index)
    raise _unknown(foreign, names)


def _unknown(foreign: Foreign, names: list[str]) -> DataError:
    rule = "layers must have the names of a known network; give --map FILE that says which is which"
    return DataError(foreign.place, rule, listed(names))
