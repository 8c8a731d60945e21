"""Between rows and DICOM data sets: worklist identifiers and performed procedure steps."""

from pydicom import config

# Peers' values are taken as they are; a warning would carry a patient's data into the log.
config.settings.reading_validation_mode = config.IGNORE
