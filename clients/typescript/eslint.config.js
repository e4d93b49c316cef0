import js from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  // package-test is another project: it is compiled there, as strictly.
  { ignores: ['build', 'dist', 'src/gen', 'eslint.config.js', 'package-test'] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // What `test` of node:test returns is the runner's to wait for.
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['test', 'describe', 'it'] }] },
      ],
      // A name in brackets is how an index signature is read (noPropertyAccessFromIndexSignature).
      '@typescript-eslint/dot-notation': 'off',
    },
  },
);
