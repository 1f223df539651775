# Writes warpgroup_shapes.inc: the bodies of wgmma, whose operands cannot be written by a template.
print("// Written by warpgroup_shapes.py; n is the number of columns.")
for n in (8, 16, 32, 64, 96, 128, 192, 256):
    count = n // 2
    sums = ", ".join(f"%{i}" for i in range(count))
    operands = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    predicate = "{\\n.reg .pred p;\\nsetp.ne.b32 p, %%%d, 0;\\n"
    shape = f"wgmma.mma_async.sync.aligned.m64n{n}k16.f32.bf16.bf16"
    print(f"""template <int kTransposeA, int kTransposeB>
struct SharedProduct<{n}, kTransposeA, kTransposeB> {{
  __device__ __forceinline__ static void run(float (&d)[{count}], uint64_t a, uint64_t b, int accumulate) {{
    asm volatile("{predicate % (count + 2)}{shape} {{{sums}}}, %{count}, %{count + 1}, p, 1, 1, %{count + 3}, %{count + 4};\\n}}"
                 : {operands}
                 : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA), "n"(kTransposeB));
  }}
}};
template <int kTransposeB>
struct RegisterProduct<{n}, kTransposeB> {{
  __device__ __forceinline__ static void run(float (&d)[{count}], const uint32_t (&a)[4], uint64_t b, int accumulate) {{
    asm volatile("{predicate % (count + 5)}{shape} {{{sums}}}, {{%{count}, %{count + 1}, %{count + 2}, %{count + 3}}}, %{count + 4}, p, 1, 1, %{count + 6};\\n}}"
                 : {operands}
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB));
  }}
}};""")
