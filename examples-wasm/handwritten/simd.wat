;; Adds two vectors and exits with one lane of the sum: 9.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $proc_exit
      (i32x4.extract_lane 2
        (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 4 5 6 7))))))
