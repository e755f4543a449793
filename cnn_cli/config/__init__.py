"""The config: from YAML to frozen pydantic models, and all messages about it."""

from cnn_cli.config.layer_model import LayerConfig
from cnn_cli.config.layers import (
    BranchesConfig,
    RepeatConfig,
    ResidualConfig,
)
from cnn_cli.config.load import (
    config_text,
    load_config,
    plain_config,
    required_root,
    validate_config,
)
from cnn_cli.config.sections import DataConfig, ModelConfig, TrainConfig
from cnn_cli.config.whole import Config
from cnn_cli.data.augment import AugmentConfig

__all__ = [
    "AugmentConfig",
    "BranchesConfig",
    "Config",
    "DataConfig",
    "LayerConfig",
    "ModelConfig",
    "RepeatConfig",
    "ResidualConfig",
    "TrainConfig",
    "config_text",
    "load_config",
    "plain_config",
    "required_root",
    "validate_config",
]
