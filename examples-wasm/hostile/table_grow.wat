;; Grows a table by a hundred million elements, and traps if the host refused.
(module
  (memory (export "memory") 1)
  (table $table 0 funcref)
  (func (export "_start")
    (if (i32.eq (table.grow $table (ref.null func) (i32.const 100000000)) (i32.const -1))
      (then unreachable))))
