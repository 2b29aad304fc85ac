"""From ArrayRecords to batches: records, protocols, sampling, decode, augment, loader."""
