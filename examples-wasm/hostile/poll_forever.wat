;; Polls a clock that rings at once, over and over: each call returns, and the guest never does.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; A subscription at 0: user data 0, kind 0 (clock), clock 1 (monotonic), time-out 0.
    (i32.store (i32.const 16) (i32.const 1))
    (loop $again
      (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (br $again))))
