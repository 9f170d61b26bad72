"""Margins, radii, VRA, predict-or-abstain."""

from lip_plugin.bounds import bounds_of as bounds_of
from lip_plugin.bounds import effort as effort
from lip_plugin.certificates.accuracy import certified_at as certified_at
from lip_plugin.certificates.accuracy import verified_robust_accuracy as verified_robust_accuracy
from lip_plugin.certificates.accuracy import wilson_interval95 as wilson_interval95
from lip_plugin.certificates.arithmetic import require_arithmetic as require_arithmetic
from lip_plugin.certificates.certificate import CERTIFICATE_COLUMNS as CERTIFICATE_COLUMNS
from lip_plugin.certificates.certificate import Certificate as Certificate
from lip_plugin.certificates.certificate import certify as certify
from lip_plugin.certificates.certificate import certify_blocks as certify_blocks
from lip_plugin.certificates.inputs import check_images as check_images
from lip_plugin.certificates.inputs import check_labels as check_labels
from lip_plugin.certificates.lipschitz import LayerBound as LayerBound
from lip_plugin.certificates.lipschitz import LipschitzBound as LipschitzBound
from lip_plugin.certificates.lipschitz import lipschitz_upper_bound as lipschitz_upper_bound
from lip_plugin.certificates.lipschitz import pair_lipschitz_upper_bound as pair_lipschitz_upper_bound
from lip_plugin.certificates.predict import Prediction as Prediction
from lip_plugin.certificates.predict import predict as predict
from lip_plugin.certificates.program import float32_program as float32_program
