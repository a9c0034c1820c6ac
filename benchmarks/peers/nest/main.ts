import 'reflect-metadata';

import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtModule } from '@nestjs/jwt';

import { WebrtcGateway } from './webrtc.gateway';

@Module({
  imports: [JwtModule.register({ secret: process.env.JWT_SIGNING_KEY })],
  providers: [WebrtcGateway],
})
class WebrtcModule {}

async function main(): Promise<void> {
  const app = await NestFactory.create(WebrtcModule, { logger: ['error', 'warn'] });
  await app.listen(Number(process.argv[2]), '127.0.0.1');
}

void main();
