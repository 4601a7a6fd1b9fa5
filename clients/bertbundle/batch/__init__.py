"""Texts in bulk: a callable over Arrow batches, and jobs over files that any engine computes and resumes.

>>> from bertbundle.batch import Annotator
"""

from bertbundle.batch.annotator import Annotator
from bertbundle.batch.job import BatchJob, run_job

__all__ = ["Annotator", "BatchJob", "run_job"]
