//! Read models: folds of the log that people query.
