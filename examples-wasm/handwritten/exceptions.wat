;; Throws an exception and catches it, then exits with what it carried: 42.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (tag $oops (param i32))
  (func $throws (throw $oops (i32.const 42)))
  (func (export "_start")
    (block $caught (result i32)
      (try_table (catch $oops $caught) (call $throws))
      unreachable)
    (call $proc_exit)))
