"""What to do instead: one way out for every kind that is refused, whatever has been imported."""

from __future__ import annotations

PAGE = "docs/layers.md"

_ATTENTION = "attention has no Lipschitz bound over all images; mix positions by convolutions or linear layers"
_RECURRENT = "recurrent layers are no chain of operators on images; use convolutions"
_DATA_NORM = (
    "it divides by what it measures on the image, which has no Lipschitz bound near constant images; "
    "use BatchNorm2d (fixed statistics), or centre with a linear layer"
)
_PROBABILITIES = "leave it out: the predicted class is the same, and certificates speak of logits"
_THREE_AXES = "images have two axes; use the 2d layer"
_JUMPS = "it jumps, so that no Lipschitz bound exists; use ReLU, Softshrink or another continuous function"
_UNBOUNDED = "its slope has no bound; use ReLU, Softplus, tanh or another function of docs/layers.md"
_PRODUCT = "it multiplies activations, for which no bound over all images exists; use fixed factors, or ReLU"
_LOSS = "a loss is no part of the network; wrap the network alone"
_LOOKUP = "it takes whole numbers, not images; certify the network behind it"
_PATCHES = "patches that overlap are a convolution: use Conv2d with that kernel and stride, or PixelUnshuffle"
_RANDOM = "it is random; use AvgPool2d or MaxPool2d"
_LAZY = "run the module once, so that it has its sizes"

REMEDIES: dict[str, str] = {
    **dict.fromkeys(
        ("softmax", "log_softmax", "Softmax", "LogSoftmax", "Softmax2d", "softmin", "Softmin"), _PROBABILITIES
    ),
    **dict.fromkeys(("AdaptiveLogSoftmaxWithLoss", "gumbel_softmax", "argmax"), _PROBABILITIES),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"), _DATA_NORM),
    **dict.fromkeys(("LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"), _DATA_NORM),
    **dict.fromkeys(("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"), _DATA_NORM),
    **dict.fromkeys(("RMSNorm", "LocalResponseNorm", "CrossMapLRN2d", "normalize", "var", "std"), _DATA_NORM),
    **dict.fromkeys(("multi_head_attention_forward", "scaled_dot_product_attention", "MultiheadAttention"), _ATTENTION),
    **dict.fromkeys(("Transformer", "TransformerEncoder", "TransformerDecoder"), _ATTENTION),
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerDecoderLayer", "bmm", "baddbmm"), _ATTENTION),
    **dict.fromkeys(("RNN", "RNNBase", "RNNCell", "RNNCellBase", "LSTM", "LSTMCell", "GRU", "GRUCell"), _RECURRENT),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _RECURRENT),
    **dict.fromkeys(("conv3d", "conv_transpose3d", "avg_pool3d", "max_pool3d", "lp_pool3d"), _THREE_AXES),
    **dict.fromkeys(("adaptive_avg_pool3d", "adaptive_max_pool3d", "Conv3d", "ConvTranspose3d"), _THREE_AXES),
    **dict.fromkeys(("LazyConv3d", "LazyConvTranspose3d", "AvgPool3d", "MaxPool3d", "LPPool3d"), _THREE_AXES),
    **dict.fromkeys(("AdaptiveAvgPool3d", "AdaptiveMaxPool3d", "BatchNorm3d", "LazyBatchNorm3d"), _THREE_AXES),
    **dict.fromkeys(
        ("ZeroPad3d", "ConstantPad3d", "CircularPad3d", "ReflectionPad3d", "ReplicationPad3d"), _THREE_AXES
    ),
    **dict.fromkeys(("hardshrink", "Hardshrink", "sign", "round", "floor", "ceil", "heaviside", "where"), _JUMPS),
    **dict.fromkeys(("gt", "lt", "ge", "le", "eq", "ne", "__gt__", "__lt__", "masked_fill"), _JUMPS),
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "tan", "sinh", "cosh"), _UNBOUNDED),
    **dict.fromkeys(("glu", "GLU", "bilinear", "Bilinear", "prod", "cumprod", "cosine_similarity"), _PRODUCT),
    **dict.fromkeys(("CosineSimilarity", "PairwiseDistance", "pairwise_distance", "cdist"), _PRODUCT),
    **dict.fromkeys(("embedding", "embedding_bag", "Embedding", "EmbeddingBag"), _LOOKUP),
    **dict.fromkeys(("fold", "unfold", "Fold", "Unfold", "im2col", "col2im"), _PATCHES),
    **dict.fromkeys(("fractional_max_pool2d", "fractional_max_pool3d"), _RANDOM),
    **dict.fromkeys(("FractionalMaxPool2d", "FractionalMaxPool3d"), _RANDOM),
    **dict.fromkeys(("max_unpool1d", "max_unpool2d", "max_unpool3d"), "use nn.Upsample or nn.ConvTranspose2d"),
    **dict.fromkeys(("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"), "use nn.Upsample or nn.ConvTranspose2d"),
    **dict.fromkeys(("grid_sample", "affine_grid"), "resample images before the network"),
    **dict.fromkeys(("LazyLinear", "LazyConv1d", "LazyConv2d"), _LAZY),
    **dict.fromkeys(("LazyConvTranspose1d", "LazyConvTranspose2d"), _LAZY),
    **dict.fromkeys(("LazyBatchNorm1d", "LazyBatchNorm2d"), _LAZY),
    **dict.fromkeys(
        ("ModuleList", "ModuleDict"), "it has no forward; use nn.Sequential, or a module that calls its members"
    ),
    **dict.fromkeys(
        ("ParameterList", "ParameterDict"), "it has no forward; use a module that computes with its members"
    ),
    **dict.fromkeys(("DataParallel", "DistributedDataParallel"), "give the network inside, its .module"),
    **dict.fromkeys(
        ("RecursiveScriptModule", "ScriptModule", "TopLevelTracedModule"), "give the module before torch.jit"
    ),
    "OptimizedModule": "give the module before torch.compile, its ._orig_mod",
    "UpsamplingBilinear2d": "use nn.Upsample(mode='nearest') with whole factors, or nn.ConvTranspose2d",
    "NLLLoss2d": _LOSS,
    "einsum": "use x @ W, F.linear or a convolution",
    "SyncBatchNorm": "use BatchNorm2d with the same numbers: in eval mode it is the same",
    "Compose": "give the modules of the pipeline in an nn.Sequential",
    "ToTensor": "certificates take tensors in [0,1]; convert images before",
    "Resize": "resize images before the network",
    "__or__": _JUMPS,
}
"""By the name of a torch function, or of a module class."""

_GENERIC = f"write it with known layers ({PAGE}), or register a rule for it (entry-point group lip_plugin.rules)"


def remedy(*names: str) -> str:
    """The way out for the first of these names that has one of its own."""
    for name in names:
        if name in REMEDIES:
            return REMEDIES[name]
        if "Loss" in name:
            return _LOSS
    return _GENERIC
