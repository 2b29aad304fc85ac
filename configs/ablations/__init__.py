"""One file per table or figure of Section 4.6; each starts from a data set's config."""
