"""A submission bundle, re-created from its weights: what it claims against what can be measured."""

from lip_plugin.verification.checks import Check as Check
from lip_plugin.verification.checks import Verification as Verification
from lip_plugin.verification.verify import verify_bundle as verify_bundle
