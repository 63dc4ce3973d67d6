"""Guidance: fields made from fields, by combining velocities and log-rates."""

from flowatlas.guidance.autoguidance import Autoguidance as Autoguidance
from flowatlas.guidance.base import Guidance as Guidance
from flowatlas.guidance.cfg_zero import CFGZero as CFGZero
from flowatlas.guidance.classifier import Classifier as Classifier
from flowatlas.guidance.classifier_free import ClassifierFree as ClassifierFree
from flowatlas.guidance.composition import Composition as Composition
from flowatlas.guidance.composition import Mixture as Mixture
from flowatlas.guidance.energy import Energy as Energy
from flowatlas.guidance.raag import RAAG as RAAG
from flowatlas.guidance.token_classifier import TokenClassifier as TokenClassifier
from flowatlas.guidance.token_classifier import exact_log_ratios as exact_log_ratios
from flowatlas.guidance.token_classifier import taylor_log_ratios as taylor_log_ratios
