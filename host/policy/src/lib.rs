//! Facts in, verdict out: the rules that clear, hold or refuse a call.
