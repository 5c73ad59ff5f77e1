;; Counts to ten million by tail calls, which must not deepen the stack, then exits with 7.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $count (param i64)
    (if (i64.eqz (local.get 0)) (then (return)))
    (return_call $count (i64.sub (local.get 0) (i64.const 1))))
  (func (export "_start")
    (call $count (i64.const 10000000))
    (call $proc_exit (i32.const 7))))
